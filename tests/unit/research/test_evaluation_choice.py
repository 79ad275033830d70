"""The rule that chooses blocks and range, on curves whose answers are made up."""

from __future__ import annotations

import dataclasses
import math

import pytest

from persona_research.evaluation.choice import (
    GRID_ENDS,
    Asked,
    ChoiceRule,
    choose,
    incoherences,
    recommend_range,
)
from persona_research.evaluation.doses import Dose, DoseCurve
from persona_research.evaluation.estimates import Estimate

RULE = ChoiceRule()
NOT_ASKED = Asked()


def exactly(value: float) -> Estimate:
    return Estimate(value, value, value)


def dose(
    scalar: float,
    score: float,
    perplexity: float = 1.2,
    repetition: float = 0.0,
    tokens: float = 100,
    ended: float = 1.0,
    divergence: float = 0.5,
) -> Dose:
    return Dose(
        scalar=scalar,
        answers=10,
        unscored=0,
        score=exactly(score),
        perplexity=exactly(perplexity),
        divergence=exactly(divergence),
        repetition=exactly(repetition),
        tokens=exactly(tokens),
        ended=ended,
    )


def curve(*doses: Dose, blocks: tuple[int, ...] = (0,), share: float = 0.1) -> DoseCurve:
    return DoseCurve(blocks, tuple(sorted(doses, key=lambda each: each.scalar)), share)


RISING = curve(dose(-2, 10), dose(-1, 30), dose(0, 50), dose(1, 70), dose(2, 90))


def test_a_score_that_rises_all_the_way_recommends_the_whole_grid_and_says_so() -> None:
    found = recommend_range(RISING, NOT_ASKED, RULE)
    assert (found.low, found.high) == (-2, 2)
    assert (found.why_low, found.why_high) == (GRID_ENDS, GRID_ENDS)


def test_what_gains_nothing_is_not_recommended() -> None:
    saturated = curve(dose(0, 50), dose(1, 97), dose(2, 98), dose(3, 98.5))
    found = recommend_range(saturated, NOT_ASKED, RULE)
    assert found.high == 1
    assert "no further" in found.why_high


def test_a_threshold_before_the_score_moves_is_walked_through() -> None:
    late = curve(dose(0, 50), dose(1, 50), dose(2, 49), dose(3, 80))
    assert recommend_range(late, NOT_ASKED, RULE).high == 3


def test_a_score_that_turns_back_ends_the_range() -> None:
    turning = curve(dose(0, 50), dose(1, 80), dose(2, 60), dose(3, 99))
    found = recommend_range(turning, NOT_ASKED, RULE)
    assert found.high == 1
    assert found.why_high == "the score turns back at +2"


def test_one_of_a_few_answers_may_run_into_the_limit_by_chance() -> None:
    few = dataclasses.replace(dose(0, 50), answers=6)
    assert incoherences(dataclasses.replace(few, ended=5 / 6), few, None, RULE) == ()
    assert incoherences(dataclasses.replace(few, ended=4 / 6), few, None, RULE) != ()


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (dose(2, 90, perplexity=2.5), "perplexity"),
        (dose(2, 90, perplexity=math.nan), "perplexity"),
        (dose(2, 90, repetition=0.3), "repetition"),
        (dose(2, 90, tokens=201), "length"),
        (dose(2, 90, tokens=49), "length"),
        (dose(2, 90, ended=0.8), "unended answers"),
    ],
)
def test_incoherent_answers_end_the_range_for_good(broken: Dose, fault: str) -> None:
    assert incoherences(broken, dose(0, 50), None, RULE) == (fault,)
    breaking = curve(dose(0, 50), dose(1, 70), broken, dose(3, 100))
    found = recommend_range(breaking, NOT_ASKED, RULE)
    assert found.high == 1
    assert found.why_high == f"{fault} at +2"


def test_a_model_that_repeats_itself_when_asked_may_do_so_when_steered() -> None:
    looping, base = dose(1, 90, repetition=0.25), dose(0, 50)
    assert incoherences(looping, base, None, RULE) == ("repetition",)
    assert incoherences(looping, base, dose(0, 100, repetition=0.2), RULE) == ()
    assert incoherences(looping, base, dose(0, 100, repetition=0.1), RULE) == ("repetition",)


def test_what_a_system_prompt_brings_about_is_the_yardstick_for_surprise() -> None:
    styled = curve(dose(-1, 10, 3.5), dose(0, 50, 1.2), dose(1, 90, 3.5))
    asked = Asked(trait=dose(0, 100, perplexity=2.0))
    found = recommend_range(styled, asked, RULE)
    assert (found.low, found.high) == (0, 1)


def test_a_direction_in_which_nothing_moves_is_left_out() -> None:
    one_sided = curve(dose(-2, 1), dose(-1, 2), dose(0, 2), dose(1, 60), dose(2, 90))
    found = recommend_range(one_sided, NOT_ASKED, RULE)
    assert (found.low, found.high) == (0, 2)
    assert "less than 10 points" in found.why_low


def test_a_score_that_is_not_a_number_ends_the_range() -> None:
    unscored = curve(dose(0, 50), dose(1, 70), dose(2, math.nan))
    assert recommend_range(unscored, NOT_ASKED, RULE).high == 1


def test_no_block_is_chosen_when_none_turns_the_trait() -> None:
    flat = curve(dose(-1, 49), dose(0, 50), dose(1, 52))
    assert choose([flat], NOT_ASKED, RULE).chosen is None
    assert choose([], NOT_ASKED, RULE).chosen is None


def test_a_vector_that_turns_the_wrong_way_is_not_chosen() -> None:
    reversed_curve = curve(dose(-1, 90), dose(0, 50), dose(1, 10))
    assert choose([reversed_curve], NOT_ASKED, RULE).chosen is None
