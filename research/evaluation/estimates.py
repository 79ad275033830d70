"""Means over prompts with bootstrap intervals, and rank correlation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

CONFIDENCE = 0.95
_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number measured on prompts, with its 95% bootstrap interval; NaN if there are none."""

    value: float
    low: float
    high: float


NOTHING = Estimate(math.nan, math.nan, math.nan)


def estimate(
    rows: Sequence[Sequence[float]], of: Callable[[Rows], Rows], seed: int = 0
) -> Estimate:
    """Estimates a function of the rows' mean.

    Prompts are drawn again with replacement, so the interval says how much another set of prompts
    like these would change the number; it says nothing about a judge's errors.

    Args:
        rows: What was measured of each prompt's answer, [prompts, numbers].
        of: Takes means [..., numbers] to the wanted numbers [...].
        seed: Seed of the resampling.
    """
    if not rows:
        return NOTHING
    table = np.asarray(rows, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(len(table), size=(_RESAMPLES, len(table)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(of(table[draws].mean(axis=1)), [tail, 100 - tail])
    return Estimate(float(of(table.mean(axis=0))), float(low), float(high))


def mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """Estimates a mean."""
    return estimate([[value] for value in values], lambda means: means[..., 0], seed)


def per_token(sums: Sequence[tuple[float, int]], seed: int = 0) -> Estimate:
    """Estimates a mean per token of all answers, of their sums and numbers of tokens."""
    counted = [(total, tokens) for total, tokens in sums if tokens]
    # The means' ratio is that of the sums: long answers weigh more, as they hold more tokens.
    return estimate(counted, lambda means: means[..., 0] / means[..., 1], seed)


def perplexity(losses: Sequence[tuple[float, int]], seed: int = 0) -> Estimate:
    """Estimates the perplexity per token of all answers, of their losses and numbers of tokens."""
    loss = per_token(losses, seed)
    return Estimate(*(float(np.exp(each)) for each in (loss.value, loss.low, loss.high)))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 where one side is constant."""
    ranks = [_ranks(values) for values in (first, second)]
    centred = [rank - rank.mean() for rank in ranks]
    scale = math.sqrt(float((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum()) / scale if scale else 0.0


def _ranks(values: Sequence[float]) -> Rows:
    array = np.asarray(values, dtype=np.float64)
    below = (array[:, None] > array[None, :]).sum(axis=1)
    equal = (array[:, None] == array[None, :]).sum(axis=1)
    ranks: Rows = below + (equal - 1) / 2
    return ranks
