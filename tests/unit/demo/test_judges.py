"""Two judges agree where they rank the same answers alike."""

from __future__ import annotations

from persona_demo.judges import Scores, agreement, agreement_table
from persona_research.evaluation.conditions import UNSTEERED, Condition

POSITIVE = Condition(system_prompts=("Do.",))
NEGATIVE = Condition(system_prompts=("Do not.",))


def test_only_pairs_that_the_rules_rank_and_both_scored_count() -> None:
    rule: Scores = {UNSTEERED: [50.0, 50.0], POSITIVE: [100.0, 50.0], NEGATIVE: [50.0, 0.0]}
    contrast: Scores = {UNSTEERED: [0.0, 0.1], POSITIVE: [0.3, 0.2], NEGATIVE: [-0.1, None]}
    found = agreement(rule, contrast, POSITIVE, NEGATIVE)
    # The first question's two pairs with the answer that shows the trait.
    assert found.pairs == 2
    assert found.alike.value == 1.0
    assert found.asked_by_contrast.value == 1.0
    assert found.asked_by_rule.value == 1.0


def test_what_is_ranked_otherwise_is_told() -> None:
    rule: Scores = {POSITIVE: [100.0, 100.0, 0.0], NEGATIVE: [0.0, 0.0, 0.0]}
    contrast: Scores = {POSITIVE: [0.3, -0.2, 0.1], NEGATIVE: [-0.1, 0.1, 0.1]}
    found = agreement(rule, contrast, POSITIVE, NEGATIVE)
    assert (found.pairs, found.alike.value) == (2, 0.5)
    assert round(found.asked_by_contrast.value, 3) == 0.333
    assert round(found.asked_by_rule.value, 3) == 0.667
    assert "| calm | 2 | 0.50 [0.00, 1.00] |" in agreement_table({"calm": found})
