"""Which scalars to try."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

DOSES = (0.075, 0.15, 0.3, 0.45, 0.6)
"""What to add, as shares of the residual stream's norm: from hardly felt to mostly destructive."""


def default_scalars(
    residual_shares: Sequence[float], doses: Sequence[float] = DOSES
) -> tuple[float, ...]:
    """Scalars that reach from the first dose to the last, in both directions, and 0.

    Norms of vectors from different methods differ by factors of hundreds, so no fixed scalars suit
    all. These are round multiples of about `doses` of the residual's norm at the median block.
    """
    step = _round(doses[0] / median(residual_shares))
    positive = [round(dose / doses[0]) * step for dose in doses]
    # 12 digits take away what multiplying a decimal leaves behind.
    rising = [float(f"{scalar:.12g}") for scalar in positive]
    return (*(-scalar for scalar in reversed(rising)), 0.0, *rising)


def _round(number: float) -> float:
    """The closest of 1, 2.5 and 5 times a power of ten, by ratio."""
    power = 10.0 ** math.floor(math.log10(number))
    candidates = [factor * power for factor in (1.0, 2.5, 5.0, 10.0)]
    return min(candidates, key=lambda candidate: abs(math.log(candidate / number)))
