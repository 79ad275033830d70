"""Estimates, repetition, doses, the grid of scalars, and the matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from persona_research.evaluation.cross_trait import cosines, movement
from persona_research.evaluation.doses import MeasuredAnswer, residual_share, summarise
from persona_research.evaluation.estimates import mean, perplexity, spearman
from persona_research.evaluation.grid import DOSES, default_scalars
from persona_research.evaluation.repetition import repetition
from triton_models.vectors.persona_vector import PersonaVector


def vector(trait: str, **blocks: list[float]) -> PersonaVector:
    numbers = {int(key[1:]): np.asarray(row, np.float32) for key, row in blocks.items()}
    return PersonaVector(trait, "m", numbers)


def test_a_mean_has_an_interval_around_it_that_narrows_with_the_sample() -> None:
    few, many = mean([0.0, 10.0] * 5), mean([0.0, 10.0] * 500)
    assert few.value == many.value == 5
    assert few.low < many.low < 5 < many.high < few.high
    # Five standard errors of a binomial of 1000 are 0.8.
    assert many.high - many.low < 1.6


def test_estimates_are_reproducible_and_empty_ones_are_not_numbers() -> None:
    assert mean([1.0, 2.0, 4.0], seed=3) == mean([1.0, 2.0, 4.0], seed=3)
    assert math.isnan(mean([]).value)
    assert mean([7.0]) == mean([7.0, 7.0])


def test_perplexity_is_per_token_of_all_answers_together() -> None:
    assert perplexity([(2.0, 2), (0.0, 2), (0.0, 0)]).value == pytest.approx(math.exp(0.5))


@pytest.mark.parametrize(
    ("second", "expected"),
    [([1, 2, 3, 9], 1.0), ([4, 3, 2, 1], -1.0), ([5, 5, 5, 5], 0.0), ([1, 1, 2, 2], 0.894427)],
)
def test_rank_correlation_shares_the_ranks_of_ties(second: list[float], expected: float) -> None:
    assert spearman([1, 2, 3, 4], second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("One thing is this. Another thing is that.", 0.0),
        ("It is so. It is so. It is not.", 1 / 3),
        ("no no no no no no no no", 0.8),
        ("\u5f88\u597d\u5f88\u597d\u5f88\u597d\u5f88\u597d", 0.6),
    ],
)
def test_repetition_finds_sentences_and_loops(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


def answer(score: float | None, tokens: int = 10, ended: bool = True) -> MeasuredAnswer:
    return MeasuredAnswer("q", "a", score, 5.0, tokens, 0.25, tokens, ended)


def test_a_dose_leaves_out_what_has_no_score_and_counts_it() -> None:
    dose = summarise(1.5, [answer(80), answer(None, ended=False), answer(60, tokens=40)])
    assert (dose.scalar, dose.answers, dose.unscored) == (1.5, 3, 1)
    assert dose.score.value == 70
    assert dose.tokens.value == 20
    assert dose.ended == pytest.approx(2 / 3)
    assert dose.repetition.value == 0.25
    assert dose.perplexity.value == pytest.approx(math.exp(15 / 60))


def test_doses_are_relative_to_the_residual_and_add_up_over_blocks() -> None:
    steered = vector("a", b0=[3, 4], b1=[0, 2])
    assert residual_share(steered, (0,), {0: 50, 1: 10}) == pytest.approx(0.1)
    assert residual_share(steered, (0, 1), {0: 50, 1: 10}) == pytest.approx(0.3)


@pytest.mark.parametrize("share", [1 / 771, 0.02, 0.15, 1.0, 7.3])
def test_default_scalars_reach_the_same_doses_whatever_the_norm(share: float) -> None:
    scalars = default_scalars([share])
    assert scalars == tuple(sorted(scalars))
    assert 0.0 in scalars
    assert [-scalar for scalar in reversed(scalars)] == list(scalars)
    reached = [scalar * share for scalar in scalars if scalar > 0]
    assert len(reached) == len(DOSES)
    # Round numbers are at most a factor of the root of 2.5 off.
    assert all(0.63 < got / wanted < 1.59 for got, wanted in zip(reached, DOSES, strict=True))


def test_movement_compares_answers_to_the_same_question() -> None:
    found = movement("a", "b", 2.0, [50, 50, None, 40], [60, 50, 99, None])
    assert found.change.value == 5
    assert found.answers == 2
    assert (found.steered, found.judged, found.scalar) == ("a", "b", 2.0)


def test_cosines_are_between_the_traits_that_have_the_block() -> None:
    vectors = {
        "a": vector("a", b0=[1, 0], b1=[1, 0]),
        "b": vector("b", b0=[0, 5], b1=[-2, 0]),
        "c": vector("c", b1=[0, 0]),
    }
    first, second = cosines(vectors, [0, 1])
    assert (first.block, first.traits) == (0, ("a", "b"))
    np.testing.assert_allclose(first.values, [[1, 0], [0, 1]])
    np.testing.assert_allclose(second.values, [[1, -1, 0], [-1, 1, 0], [0, 0, 0]])
