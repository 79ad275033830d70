"""Readouts: the projections of hidden states onto traits' directions, for one request."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.prompt_turns import Turn
from triton_models.steering.directions import direction
from triton_models.vectors.calibration import BlockCalibration, CalibratedMean
from triton_models.vectors.registry import VectorRegistry

Means = Mapping[str, Mapping[int, float]]
"""For each trait the mean projection at each of its blocks."""


@dataclass(frozen=True, slots=True, eq=False)
class MonitoredDirection:
    """A direction that a request monitors.

    Attributes:
        block: The decoder block at whose output it is read.
        vector: float32 [hidden_size]: a unit vector.
        calibration: What is usual along it, `None` if that is not known for the model.
    """

    trait: str
    block: int
    vector: NDArray[np.float32]
    calibration: BlockCalibration | None = None


@dataclass(frozen=True, slots=True)
class TokenReadout:
    """What was read at one token of the answer.

    Attributes:
        before: The projection onto each direction before the block's output was steered; empty for
            a token whose hidden state is not computed, since none follows it.
        after: The same of what the model went on with.
    """

    directions: tuple[MonitoredDirection, ...]
    before: Sequence[float] = ()
    after: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class TurnReadout:
    """What was read in a turn of the prompt: see `Readout.means`."""

    role: str
    means: Means


@dataclass(slots=True)
class Mean:
    """The mean projection of some tokens onto each of a request's directions."""

    directions: tuple[MonitoredDirection, ...]
    _totals: list[float] = field(init=False)
    _num_tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._totals = [0.0] * len(self.directions)

    def add(self, sums: Sequence[float], num_tokens: int = 1) -> None:
        """Adds tokens: the sum of their projections onto each direction."""
        for index, projection in enumerate(sums):
            self._totals[index] += projection
        self._num_tokens += num_tokens

    def by_trait(self) -> dict[str, dict[int, float]]:
        """Returns for each trait the mean at each of its blocks; empty if there was no token."""
        means: dict[str, dict[int, float]] = {each.trait: {} for each in self.directions}
        if self._num_tokens:
            for each, total in zip(self.directions, self._totals, strict=True):
                means[each.trait][each.block] = total / self._num_tokens
        return means


class Readout:
    """What one request monitors, and what was read of it.

    Args:
        directions: The directions.
        reads_tokens: Whether each token is wanted, and not only the answer's mean.
        turns: The turns of the prompt that are wanted too.
    """

    def __init__(
        self,
        directions: tuple[MonitoredDirection, ...],
        *,
        reads_tokens: bool = False,
        turns: Iterable[Turn] = (),
    ) -> None:
        self.directions = directions
        self.reads_before = reads_tokens
        """Whether it takes projections before steering."""
        self.turns = [(turn, Mean(directions)) for turn in turns if reads_tokens]
        """The turns, and the means of their tokens so far."""
        self._answer = Mean(directions)
        self._tokens: deque[TokenReadout] = deque()

    def add(self, after: Sequence[float], before: Sequence[float] = ()) -> None:
        """Adds the answer's next token: its projection onto each direction.

        Args:
            after: What the model goes on with.
            before: The same before steering, for a request that reads its tokens.
        """
        self._answer.add(after)
        if self.reads_before:
            self._tokens.append(TokenReadout(self.directions, before, after))

    def take_tokens(self, count: int) -> tuple[TokenReadout, ...]:
        """Returns the next tokens that have not been taken yet; see `TokenReadout.before`."""
        taken = [self._tokens.popleft() for _ in range(min(count, len(self._tokens)))]
        return (*taken, *[TokenReadout(self.directions)] * (count - len(taken)))

    def turn_means(self) -> tuple[TurnReadout, ...]:
        """Returns the means of the prompt's turns, which has been computed."""
        return tuple(TurnReadout(turn.role, mean.by_trait()) for turn, mean in self.turns)

    def means(self) -> dict[str, dict[int, float]]:
        """Returns for each trait the mean projection at each of its blocks.

        Empty for every trait if the answer has a single token: a token's hidden state is computed
        only together with the next one.
        """
        return self._answer.by_trait()

    def calibrated_means(self) -> dict[str, dict[int, CalibratedMean]]:
        """Returns what the means say for each trait with a calibration, where both are there.

        A mean that is not finite, as after too much steering, says nothing.
        """
        means = self.means()
        found: dict[str, dict[int, CalibratedMean]] = {}
        for each in self.directions:
            mean = means[each.trait].get(each.block, math.nan)
            if each.calibration is not None and math.isfinite(mean):
                found.setdefault(each.trait, {})[each.block] = each.calibration.of_answer(mean)
        return found


def resolve_directions(
    traits: Sequence[str], layers: Sequence[int] | None, registry: VectorRegistry
) -> tuple[MonitoredDirection, ...]:
    """Returns the directions of monitored traits at blocks, `None` for those a vector selects.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: A vector lacks a block, or is zero there and so has no direction.
    """
    return tuple(
        MonitoredDirection(trait, block, direction(vector, block), calibrated.get(block))
        for trait in traits
        for vector, calibrated in [(registry.get(trait), _calibrated_blocks(trait, registry))]
        for block in layers or vector.selected_blocks
    )


def _calibrated_blocks(trait: str, registry: VectorRegistry) -> Mapping[int, BlockCalibration]:
    try:
        return registry.calibration(trait).blocks
    except InvalidArgumentError:
        # The description of the traits says why.
        return {}
