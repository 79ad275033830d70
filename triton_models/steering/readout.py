"""Readouts: the projections of an answer's hidden states onto traits' directions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from triton_models.contract.errors import InvalidArgumentError
from triton_models.steering.directions import direction
from triton_models.vectors.calibration import BlockCalibration, CalibratedMean
from triton_models.vectors.registry import VectorRegistry


@dataclass(slots=True)
class Readout:
    """The directions that one request monitors, and the sums of its projections.

    Attributes:
        blocks: The decoder block of each direction, at whose output it is read.
        directions: float32 [directions, hidden_size]: unit vectors.
        calibrations: That of each direction, `None` if it has none for the model.
    """

    traits: tuple[str, ...]
    blocks: tuple[int, ...]
    directions: NDArray[np.float32]
    calibrations: tuple[BlockCalibration | None, ...]
    _totals: NDArray[np.float64] = field(init=False)
    _num_tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._totals = np.zeros(len(self.traits), dtype=np.float64)

    def add(self, projections: NDArray[np.float32]) -> None:
        """Adds projections of tokens of the answer, float32 [tokens, directions]: dot products."""
        self._totals += projections.sum(axis=0, dtype=np.float64)
        self._num_tokens += len(projections)

    def means(self) -> dict[str, dict[int, float]]:
        """Returns for each trait the mean projection at each of its blocks.

        Empty for every trait if the answer has a single token: a token's hidden state is computed
        only together with the next one.
        """
        means: dict[str, dict[int, float]] = {trait: {} for trait in self.traits}
        if self._num_tokens:
            for trait, block, total in zip(self.traits, self.blocks, self._totals, strict=True):
                means[trait][block] = float(total / self._num_tokens)
        return means

    def calibrated_means(self) -> dict[str, dict[int, CalibratedMean]]:
        """Returns what the means say for each trait with a calibration, where both are there.

        A mean that is not finite, as after too much steering, says nothing.
        """
        means = self.means()
        found: dict[str, dict[int, CalibratedMean]] = {}
        for trait, block, calibration in zip(
            self.traits, self.blocks, self.calibrations, strict=True
        ):
            mean = means[trait].get(block, math.nan)
            if calibration is not None and math.isfinite(mean):
                found.setdefault(trait, {})[block] = calibration.of_answer(mean)
        return found


def resolve_readout(traits: Sequence[str], registry: VectorRegistry) -> Readout | None:
    """Returns the readout of monitored traits at their vectors' selected blocks, if there are any.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: A vector is zero, so that it has no direction.
    """
    names, blocks, directions, calibrations = [], [], [], []
    for trait in traits:
        vector, calibrated = registry.get(trait), _calibrated_blocks(trait, registry)
        for block in vector.selected_blocks:
            directions.append(direction(vector, block))
            names.append(trait)
            blocks.append(block)
            calibrations.append(calibrated.get(block))
    if not names:
        return None
    return Readout(tuple(names), tuple(blocks), np.stack(directions), tuple(calibrations))


def _calibrated_blocks(trait: str, registry: VectorRegistry) -> Mapping[int, BlockCalibration]:
    try:
        return registry.calibration(trait).blocks
    except InvalidArgumentError:
        # The description of the traits says why.
        return {}
