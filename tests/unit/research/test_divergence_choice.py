"""What the rule makes of how far doses take the model from itself, on answers that are made up."""

from __future__ import annotations

import dataclasses

import pytest

from persona_research.evaluation.choice import (
    ASKINGS,
    Asked,
    as_candidate,
    choose,
    in_units,
    recommend_range,
)
from persona_research.evaluation.doses import MeasuredAnswer, summarise
from persona_research.evaluation.report import unit_scale_text
from persona_research.evaluation.unit_scale import find_unit_scale
from persona_research.judges import CONTRAST, POINTS
from tests.unit.research.test_evaluation_choice import NOT_ASKED, RULE, curve, dose
from triton_models.vectors.unit_scale import PoleScale, UnitScale

ASKED = Asked(dose(0, 0.5, divergence=0.4), dose(0, -0.5, divergence=0.3))


def test_a_budget_is_twice_what_the_dearer_pole_costs_unless_it_is_given() -> None:
    assert in_units(RULE, CONTRAST, ASKED).budget == pytest.approx(ASKINGS * 0.4)
    given = dataclasses.replace(RULE, budget=0.1)
    assert in_units(given, CONTRAST, ASKED).budget == 0.1
    assert in_units(given, POINTS, ASKED).budget == 0.1


def test_a_judge_that_is_asked_needs_no_budget() -> None:
    assert in_units(RULE, POINTS, ASKED).budget is None
    rising = curve(dose(0, 50), dose(1, 70), dose(2, 90, divergence=99))
    assert recommend_range(rising, NOT_ASKED, in_units(RULE, POINTS, ASKED)).high == 2


def test_the_range_ends_where_the_budget_does() -> None:
    rising = curve(dose(0, 50), dose(1, 70, divergence=0.25), dose(2, 90, divergence=0.26))
    found = recommend_range(rising, NOT_ASKED, dataclasses.replace(RULE, budget=0.25))
    assert found.high == 1
    assert found.why_high == "divergence above 0.25 nats per token at +2"


def test_gain_comes_before_gain_per_nat() -> None:
    weak = curve(
        dose(-1, 40, divergence=0.01), dose(0, 50), dose(1, 60, divergence=0.01), blocks=(0,)
    )
    strong = curve(
        dose(-1, 5, divergence=1.0), dose(0, 50), dose(1, 95, divergence=2.0), blocks=(1,)
    )
    choice = choose([weak, strong], NOT_ASKED, RULE)
    assert choice.chosen is not None
    assert choice.chosen.blocks == (1,)
    assert [each.blocks for each in choice.candidates] == [(0,), (1,)]
    assert (choice.chosen.gain, choice.chosen.divergence) == (90, 1.5)
    assert choice.chosen.gain_per_nat == pytest.approx(60)


def test_among_equally_strong_blocks_the_most_gain_per_nat_wins() -> None:
    dear = curve(dose(-1, 2, divergence=1.0), dose(0, 50), dose(1, 98, divergence=1.0), blocks=(0,))
    cheap = curve(
        dose(-9, 5, divergence=0.7), dose(0, 50), dose(9, 95, divergence=0.7), blocks=(1,)
    )
    choice = choose([dear, cheap], NOT_ASKED, RULE)
    assert choice.chosen is not None
    assert choice.chosen.blocks == (1,)


def test_a_block_against_its_trend_is_not_chosen_however_cheap() -> None:
    against = curve(
        dose(-2, 95),
        dose(-1, 20, divergence=0.001),
        dose(0, 50),
        dose(1, 95, divergence=0.001),
        dose(2, 5),
        blocks=(20,),
    )
    rising = curve(dose(-1, 20), dose(0, 50), dose(1, 95), blocks=(3,))
    choice = choose([against, rising], NOT_ASKED, RULE)
    assert choice.candidates[0].gain_per_nat > choice.candidates[1].gain_per_nat
    assert choice.chosen is not None
    assert choice.chosen.blocks == (3,)


def test_a_vector_without_effect_has_no_gain_per_nat() -> None:
    flat = curve(dose(-1, 50, divergence=0.0), dose(0, 50), dose(1, 50, divergence=0.0))
    assert as_candidate(flat, NOT_ASKED, RULE).gain_per_nat == 0


def test_a_dose_has_nats_for_each_token_of_all_answers_together() -> None:
    short, long = (
        MeasuredAnswer(f"q{tokens}", "a", 50, 1.0, tokens, 0.0, tokens, True, divergence)
        for tokens, divergence in ((10, 8.0), (30, 4.0))
    )
    found = summarise(1.0, [short, long]).divergence
    assert found.value == pytest.approx(12 / 40)
    assert found.low < found.value < found.high


def test_what_does_as_much_as_asking_says_what_it_costs() -> None:
    rising = curve(
        *(dose(scalar, scalar, divergence=abs(scalar) / 10) for scalar in (-1, 0, 1)),
    )
    asked = Asked(dose(0, 0.5), dose(0, -2.0))
    found = find_unit_scale(
        rising, asked, RULE, lambda scalar: dose(scalar, scalar, divergence=abs(scalar) / 10)
    )
    assert found == UnitScale(PoleScale(0.5, divergence=0.05), None)
    assert "+0.5 does 100% of what asking for the trait does, at 0.05 nats per token;" in (
        unit_scale_text(found)
    )
