"""Which scalar does as much as asking: how far it moves a judge's score, against system prompts.

The grid of an evaluation brackets the scalar; between two of its doses the movement is taken for a
straight line, and the scalar found is measured itself and brackets the next, since a curve bends.
Only doses whose answers are coherent count. Where none of them does as much, the smallest of those
that come nearest stands for it if it does most of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, takewhile

import numpy as np

from persona_research.evaluation.choice import Asked, ChoiceRule, incoherences
from persona_research.evaluation.doses import Dose, DoseCurve
from triton_models.vectors.unit_scale import PoleScale, UnitScale

MOST = 0.8
"""The least share of what asking does that stands for it where no scalar does as much."""

_NEAR = 0.05
"""Shares that differ by less are as good."""

STEPS = 2
"""How many scalars to measure besides the grid's, for each pole."""


def find_unit_scale(
    curve: DoseCurve, asked: Asked, rule: ChoiceRule, measure: Callable[[float], Dose]
) -> UnitScale:
    """Finds the scalars at which steering moves the score as far as the poles' system prompts do.

    Args:
        curve: Doses at the blocks that are steered.
        asked: The answers that system prompts ask for.
        rule: When a dose is coherent.
        measure: Returns the dose at another scalar of the same blocks.
    """
    positive, negative = (
        _find(curve, dose, sign, rule, measure) if dose is not None else None
        for dose, sign in ((asked.trait, 1.0), (asked.opposite, -1.0))
    )
    return UnitScale(positive, negative)


def _find(
    curve: DoseCurve,
    asked: Dose,
    sign: float,
    rule: ChoiceRule,
    measure: Callable[[float], Dose],
) -> PoleScale | None:
    base = curve.unsteered.score.value
    target = sign * (asked.score.value - base)
    if not target > 0:
        return None

    outwards = sorted(curve.doses, key=lambda dose: sign * dose.scalar)
    doses = list(
        takewhile(
            lambda dose: not incoherences(dose, curve.unsteered, asked, rule),
            (dose for dose in outwards if sign * dose.scalar >= 0),
        )
    )

    def points() -> list[tuple[float, float]]:
        return [(abs(dose.scalar), sign * (dose.score.value - base) / target) for dose in doses]

    def scale(scalar: float, share: float = 1.0) -> PoleScale:
        measured = sorted((abs(dose.scalar), dose.divergence.value) for dose in doses)
        divergence = np.interp(scalar, *np.transpose(measured))
        return PoleScale(scalar, share, round(float(divergence), 3))

    for _ in range(STEPS):
        scalar = crossing(points())
        if scalar is None or scalar in dict(points()):
            break
        doses.append(measure(sign * scalar))
    if scalar := crossing(points()):
        return scale(scalar)
    best = max((share for _, share in points()), default=0.0)
    if best < MOST:
        return None
    scalar, share = min(each for each in points() if each[1] >= best - _NEAR)
    return scale(scalar, round(share, 3))


def crossing(points: Sequence[tuple[float, float]]) -> float | None:
    """Returns where points are first as high as 1, from the left; `None` if nowhere.

    Args:
        points: Scalars, 0 or above, each with the movement there as a share of the wanted one.
    """
    for (left, low), (right, high) in pairwise(sorted(points)):
        if high >= 1:
            found = left + (1 - low) / (high - low) * (right - left)
            return float(f"{found:.3g}")
    return None
