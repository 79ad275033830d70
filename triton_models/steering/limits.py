"""Limits: what an answer's tokens may show of a trait before it ends, or says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triton_models.contract.errors import EnforcementError, RequestError
from triton_models.contract.steering import Limit, SteeringParameters
from triton_models.steering.bounded_projections import LARGEST, raw_bound
from triton_models.steering.directions import direction
from triton_models.vectors.registry import VectorRegistry


@dataclass(frozen=True, slots=True)
class ResolvedLimit:
    """A limit of a request, worked out before it runs.

    Attributes:
        vector: float32 [hidden size]: the unit vector v.
        block: The decoder block at whose output h.v is looked at.
        bound: What h.v must not go beyond.
        is_enforced: Whether it is a policy's.
    """

    limit: Limit
    vector: NDArray[np.float32]
    block: int
    bound: float
    is_enforced: bool

    def is_broken_by(self, projection: float) -> bool:
        """Whether a projection is beyond the bound; what is not a number is not."""
        return projection > self.bound if self.limit.above else projection < self.bound


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A limit that an answer has reached.

    Attributes:
        token: The first token, counted from 0, at which as many were beyond the bound as it takes.
        projection: That token's h.v.
    """

    resolved: ResolvedLimit
    token: int
    projection: float


class LimitWatch:
    """Compares the tokens of an answer with its limits, one token after the other.

    Attributes:
        directions: What each of them looks at.
        reads_before: That none looks at what there is before steering.
        stops: Whether one of them has ended the answer; nothing is looked at any more.
    """

    def __init__(self, limits: Sequence[ResolvedLimit]) -> None:
        self.directions = limits
        self.reads_before = False
        self.stops = False
        self._reached: dict[int, LimitReached] = {}
        self._num_beyond = [0] * len(limits)
        """How many of the newest tokens in a row are beyond each limit's bound."""
        self._num_tokens = 0

    @property
    def reached(self) -> tuple[LimitReached, ...]:
        """The limits that were reached, in that order, each at its first time."""
        return tuple(self._reached.values())

    def add(self, projections: Sequence[float]) -> None:
        """Takes the answer's next token: its projection onto each direction."""
        if self.stops:
            return
        for index, each in enumerate(self.directions):
            projection = max(min(projections[index], LARGEST), -LARGEST)
            in_a_row = self._num_beyond[index] + 1 if each.is_broken_by(projection) else 0
            self._num_beyond[index] = in_a_row
            if in_a_row == each.limit.over:
                reached = LimitReached(each, self._num_tokens, projection)
                self._reached.setdefault(index, reached)
                self.stops |= each.limit.action == "stop"
        self._num_tokens += 1


def resolve_limits(
    steering: SteeringParameters, own: VectorRegistry, enforcing: VectorRegistry
) -> LimitWatch | None:
    """Returns what watches a request's limits and those that a policy enforces, if there are any.

    Args:
        steering: It has both.
        own: The vectors of the request's.
        enforcing: Those of the policy's.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: A vector lacks a layer or is zero there, or a percentile is asked for
            without calibration.
        EnforcementError: One of that is so for a limit of the policy.
    """
    limits = _resolved(steering.limits, own, is_enforced=False)
    try:
        enforced = _resolved(steering.enforced.limits, enforcing, is_enforced=True)
    except RequestError as error:
        raise EnforcementError(error.message) from error
    limits += enforced
    return LimitWatch(limits) if limits else None


def _resolved(
    limits: Iterable[Limit], registry: VectorRegistry, *, is_enforced: bool
) -> list[ResolvedLimit]:
    found = []
    for each in limits:
        vector = registry.get(each.trait)
        block = vector.selected_blocks[-1] if each.layer is None else each.layer
        bound = raw_bound(each.trait, block, each.bound, each.unit, registry)
        unit_vector = direction(vector, block)
        found.append(ResolvedLimit(each, unit_vector, block, bound, is_enforced))
    return found
