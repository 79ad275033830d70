"""The scalar that does as much as asking, found on curves whose answers are made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from persona_research.evaluation.choice import Asked
from persona_research.evaluation.doses import Dose
from persona_research.evaluation.unit_scale import crossing, find_unit_scale
from tests.unit.research.test_evaluation_choice import RULE, curve, dose
from triton_models.vectors.unit_scale import PoleScale, UnitScale

GRID = (-4, -2, -1, 0, 1, 2, 4)


def measured(score: Callable[[float], float]) -> tuple[list[Dose], Callable[[float], Dose]]:
    def at(scalar: float) -> Dose:
        return dose(scalar, score(scalar))

    return [at(scalar) for scalar in GRID], at


def test_a_curve_that_bends_is_measured_where_it_crosses() -> None:
    doses, measure = measured(lambda scalar: scalar * abs(scalar) / 10)
    found = find_unit_scale(curve(*doses), Asked(dose(0, 0.9), dose(0, -0.5)), RULE, measure)
    assert found.positive is not None
    assert found.negative is not None
    assert found.positive.scalar == pytest.approx(3, rel=0.02)
    assert found.negative.scalar == pytest.approx(5**0.5, rel=0.02)
    assert (found.positive.share, found.negative.share) == (1, 1)


def test_what_comes_near_stands_for_it_with_its_share() -> None:
    doses, measure = measured(lambda scalar: max(-0.9, min(scalar / 2.2, 0.4)))
    found = find_unit_scale(curve(*doses), Asked(dose(0, 1.0), dose(0, -1.0)), RULE, measure)
    # At -4 it does no more than at -2, or hardly.
    assert found == UnitScale(None, PoleScale(2, 0.9, 0.5))


def test_text_that_frays_is_not_as_good_as_asked_for() -> None:
    doses, measure = measured(lambda scalar: scalar)
    frayed = [dose(each.scalar, each.scalar, perplexity=99) for each in doses if each.scalar > 1]
    kept = [each for each in doses if each.scalar <= 1]
    asked = Asked(dose(0, 3.0), dose(0, -3.0))
    found = find_unit_scale(curve(*kept, *frayed), asked, RULE, measure)
    assert found == UnitScale(None, PoleScale(3, divergence=0.5))


def test_prompts_that_move_nothing_or_the_other_way_are_no_measure() -> None:
    doses, measure = measured(lambda scalar: scalar)
    asked = Asked(dose(0, 0.0), dose(0, 0.5))
    assert find_unit_scale(curve(*doses), asked, RULE, measure) == UnitScale(None, None)
    assert crossing([(0.0, 0.0), (1.0, 0.5)]) is None
