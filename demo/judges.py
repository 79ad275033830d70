"""How far the contrast judge and the rule judge agree about the demo model's answers.

Answers to one question under two conditions make a pair; of the pairs that the rule judge ranks, it
is counted how often the contrast judge ranks them alike. The conditions are steering at several
scalars and system prompts that ask for a pole: these are the yardstick, since what was asked for is
known without any judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from persona_research.evaluation.conditions import Condition
from persona_research.evaluation.estimates import Estimate, mean
from persona_research.evaluation.tables import interval_text
from persona_research.evaluation.trait_evaluation import TraitEvaluation
from persona_research.markdown import markdown_table

Scores = Mapping[Condition, Sequence[float | None]]
"""Of every condition's answers, in the order of the questions."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two judges rank answers.

    Attributes:
        pairs: How many pairs of answers the rule judge ranks.
        alike: The share of these that the contrast judge ranks alike; the interval is over
            questions.
        asked_by_contrast: The share of questions whose answer that was asked for the trait is
            ranked above the one that was asked for its opposite, by the contrast judge.
        asked_by_rule: The same, by the rule judge.
    """

    pairs: int
    alike: Estimate
    asked_by_contrast: Estimate
    asked_by_rule: Estimate


def rule_scores(evaluation: TraitEvaluation) -> Scores:
    """Returns the scores that an evaluation's own judge gave."""
    return {key: [each.score for each in group] for key, group in evaluation.answers.items()}


def agreement(
    rule: Scores, contrast: Scores, positive: Condition, negative: Condition
) -> Agreement:
    """Compares two judges' scores of the same answers.

    Args:
        rule: The rule judge's.
        contrast: The contrast judge's.
        positive: The condition that asks for the trait.
        negative: The one that asks for its opposite.
    """
    by_question: dict[int, list[float]] = {}
    for first, second in combinations(rule, 2):
        by_rule = _steps(rule[first], rule[second])
        by_contrast = _steps(contrast[first], contrast[second])
        for place, (ours, theirs) in enumerate(zip(by_rule, by_contrast, strict=True)):
            if ours and theirs is not None:
                by_question.setdefault(place, []).append(float(ours * theirs > 0))
    return Agreement(
        sum(map(len, by_question.values())),
        mean([sum(each) / len(each) for each in by_question.values()]),
        _ranked(contrast, positive, negative),
        _ranked(rule, positive, negative),
    )


def agreement_table(found: Mapping[str, Agreement]) -> str:
    """A row for each trait, in Markdown."""
    rows = [
        [
            trait,
            str(each.pairs),
            *(
                interval_text(share, ".2f")
                for share in (each.alike, each.asked_by_contrast, each.asked_by_rule)
            ),
        ]
        for trait, each in found.items()
    ]
    header = ["trait", "pairs ranked by rule", "ranked alike by contrast"]
    return markdown_table([*header, "asked-for by contrast", "asked-for by rule"], rows)


def _ranked(scores: Scores, above: Condition, below: Condition) -> Estimate:
    return mean(
        [float(step > 0) for step in _steps(scores[below], scores[above]) if step is not None]
    )


def _steps(first: Sequence[float | None], second: Sequence[float | None]) -> list[float | None]:
    """How far each score rises from one condition to another; `None` where there is none."""
    return [
        None if low is None or high is None else high - low
        for low, high in zip(first, second, strict=True)
    ]
