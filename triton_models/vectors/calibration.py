"""The calibration of a vector: which projections p = h.v are usual, block by block.

v is a block's unit vector, and h a hidden state at the block's output while nothing steers. A
calibration has the distribution of p over the tokens of answers, and that of an answer's mean, each
of them for answers without a system prompt (neutral) and under the trait's positive and negative
ones. It makes numbers of different traits, blocks and models comparable: a percentile says how
unusual a projection is, and a pole how far it is from the one to the other.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.contract.errors import InvalidArgumentError

_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model it is.

    Attributes:
        weights_sha256: As `triton_models.model.weights_hash` makes it, or `""` if unknown.
    """

    name: str
    weights_sha256: str = ""

    def is_same(self, other: ModelIdentity) -> bool:
        """Whether both are the same model: by their weights if these are known, else by name."""
        if self.weights_sha256 and other.weights_sha256:
            return self.weights_sha256 == other.weights_sha256
        return PurePath(self.name).name == PurePath(other.name).name

    def __str__(self) -> str:
        known = f" (weights {self.weights_sha256[:_HASH_DIGITS]})" if self.weights_sha256 else ""
        return f"{self.name}{known}"


@dataclass(frozen=True, slots=True)
class Distribution:
    """How values are distributed.

    Attributes:
        quantiles: Evenly spaced, from the least value (0 %) to the greatest (100 %); two or more.
        deviation: The standard deviation.
    """

    quantiles: tuple[float, ...]
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: NDArray[np.floating[Any]], num_quantiles: int) -> Distribution:
        """Returns the distribution of one or more finite values."""
        values = values.astype(np.float64)
        quantiles = np.quantile(values, np.linspace(0, 1, num_quantiles))
        return cls(tuple(map(float, quantiles)), float(values.mean()), float(values.std()))

    def value_at(self, percentile: float) -> float:
        """Returns the value at a percentile, 0 to 100, on straight lines between the quantiles."""
        place = percentile / 100 * (len(self.quantiles) - 1)
        below = min(int(place), len(self.quantiles) - 2)
        low, high = self.quantiles[below], self.quantiles[below + 1]
        share = place - below
        # Not low + share * (high - low), whose difference could overflow.
        return low * (1 - share) + high * share

    def percentile_of(self, value: float) -> float:
        """Returns the percentile of a value, 0 below all and 100 above all: `value_at` reversed.

        The middle of those that have it, where several quantiles are this value.
        """
        first, end = bisect_left(self.quantiles, value), bisect_right(self.quantiles, value)
        last = len(self.quantiles) - 1
        if first < end:
            place = (first + end - 1) / 2
        elif first in (0, last + 1):
            place = min(first, last)
        else:
            low, high = self.quantiles[first - 1], self.quantiles[first]
            # Halves of numbers whose difference is too large for a float; those of the smallest
            # numbers would be the same.
            scale = 1 if math.isfinite(high - low) else 2
            place = first - 1 + (value / scale - low / scale) / (high / scale - low / scale)
        return 100 * place / last


@dataclass(frozen=True, slots=True)
class Projections:
    """The projections of answers under one kind of system prompt.

    Attributes:
        tokens: Over all tokens of the answers.
        answers: Over the answers' means, which count the same however long an answer is.
    """

    tokens: Distribution
    answers: Distribution


@dataclass(frozen=True, slots=True)
class CalibratedMean:
    """What an answer's mean projection says beside a calibration.

    Attributes:
        percentile: Its percentile, 0 to 100, among the means of neutral answers.
        pole: Where it is between the poles' means: 0 is the negative's, 1 the positive's. It is
            below 0 or above 1 beyond them, and `None` if both are the same.
    """

    percentile: float
    pole: float | None


@dataclass(frozen=True, slots=True)
class BlockCalibration:
    """The projections onto one block's direction."""

    neutral: Projections
    positive: Projections
    negative: Projections

    def bound(self, percentile: float) -> float:
        """Returns the projection at a percentile, 0 to 100, of the tokens of neutral answers."""
        return self.neutral.tokens.value_at(percentile)

    def percentile(self, projection: float) -> float:
        """Returns the percentile of a token's projection among those: `bound` reversed."""
        return self.neutral.tokens.percentile_of(projection)

    def of_answer(self, mean: float) -> CalibratedMean:
        """Returns what an answer's mean projection says."""
        return CalibratedMean(self.neutral.answers.percentile_of(mean), self._pole(mean))

    def _pole(self, mean: float) -> float | None:
        negative, positive = self.negative.answers.mean, self.positive.answers.mean
        if positive == negative:
            return None
        pole = (mean - negative) / (positive - negative)
        return pole if math.isfinite(pole) else None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A vector's calibration.

    Attributes:
        trait: The vector's trait, for messages.
        model: The model that it was measured with.
        num_answers: Of all three conditions together.
        num_tokens: Of those answers.
        seed: With which answers were sampled.
    """

    trait: str
    model: ModelIdentity
    num_answers: int
    num_tokens: int
    seed: int
    blocks: Mapping[int, BlockCalibration]

    def at(self, block: int) -> BlockCalibration:
        """Returns a block's calibration.

        Raises:
            InvalidArgumentError: There is none.
        """
        found = self.blocks.get(block)
        if found is None:
            raise InvalidArgumentError(
                f"the vector of {self.trait!r} is not calibrated at block {block}, only at "
                f"{sorted(self.blocks)}: {remedy(self.trait)}"
            )
        return found


def remedy(trait: str) -> str:
    """Returns what to do about a trait whose calibration is missing."""
    return f"run 'persona vectors calibrate {trait}', or give raw projections"
