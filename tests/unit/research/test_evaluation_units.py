"""The rule that chooses, with a judge whose scale has no ends, and blocks against their trend."""

from __future__ import annotations

import dataclasses

import pytest

from persona_research.evaluation.choice import Asked, ChoiceRule, choose, in_units
from persona_research.evaluation.estimates import Estimate
from persona_research.judges import CONTRAST, POINTS, JudgeError
from tests.unit.research.test_evaluation_choice import NOT_ASKED, RISING, RULE, curve, dose


def test_points_become_hundredths_of_what_prompts_reach() -> None:
    asked = Asked(trait=dose(0, 0.15), opposite=dose(0, -0.05))
    found = in_units(RULE, CONTRAST, asked)
    assert (found.fall, found.plateau, found.least_gain) == pytest.approx((0.01, 0.004, 0.02))
    assert (found.unit, found.perplexity) == ("nats per token", RULE.perplexity)
    assert in_units(RULE, POINTS, asked) is RULE
    rising = curve(dose(-1, -0.05), dose(0, 0.0), dose(1, 0.015))
    assert choose([rising], asked, found).candidates[0].range.why_high == (
        "the score moves by less than 0.02 nats per token; the grid ends"
    )


def test_prompts_that_make_no_difference_are_no_yardstick() -> None:
    with pytest.raises(JudgeError, match=r"contrast of 0\.100 for the trait and 0\.100"):
        in_units(RULE, CONTRAST, Asked(dose(0, 0.1), dose(0, 0.1)))


def test_a_block_against_its_trend_is_never_chosen() -> None:
    # From -1 to +1 it gains more than any other, but over the whole grid it falls.
    against = curve(dose(-2, 95), dose(-1, 20), dose(0, 50), dose(1, 95), dose(2, 5), blocks=(20,))
    found = choose([against, RISING], NOT_ASKED, RULE)
    assert found.chosen is not None
    assert found.chosen.blocks == RISING.blocks
    alone = choose([against], NOT_ASKED, RULE)
    assert alone.candidates[0].gain > ChoiceRule().least_gain
    assert alone.chosen is None


def test_scores_whose_intervals_overlap_choose_nothing() -> None:
    wide = [
        dataclasses.replace(each, score=Estimate(each.score.value, 5, 95)) for each in RISING.doses
    ]
    assert choose([curve(*wide)], NOT_ASKED, RULE).chosen is None
