"""Operations and conditions of a request, worked out before it runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from triton_models.contract.errors import EnforcementError, InvalidArgumentError, RequestError
from triton_models.contract.steering import (
    MAX_ENFORCED_OPERATIONS,
    MAX_OPERATIONS,
    Condition,
    Enforced,
    Operation,
    Unit,
)
from triton_models.contract.steering_document import check_operations_per_block
from triton_models.steering.additions import chosen_blocks, dtype_name, fits_norm
from triton_models.steering.directions import direction
from triton_models.vectors.registry import VectorRegistry

LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class BoundedProjection:
    """An operation at a block: h += strength * (clip(h.v, low, high) - h.v) * v.

    Attributes:
        direction: float32 [hidden size]: the unit vector v.
        is_enforced: Whether it applies to all tokens, whatever condition and window say.
    """

    direction: torch.Tensor
    low: float
    high: float
    strength: float
    is_enforced: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition: a token is steered from `block` on if h.v is above the threshold there.

    Attributes:
        direction: float32 [hidden size]: the unit vector v, turned around if h.v must be below.
        threshold: The bound, its sign changed if h.v must be below.
    """

    block: int
    direction: torch.Tensor
    threshold: float


def resolve_enforced(
    enforced: Enforced, registry: VectorRegistry, dtype: torch.dtype
) -> dict[int, tuple[BoundedProjection, ...]]:
    """Returns the operations at each block that a policy enforces, in order.

    Raises:
        EnforcementError: One cannot be applied: see `resolve_operations`.
    """
    try:
        found = resolve_operations(enforced.operations, registry, dtype, MAX_ENFORCED_OPERATIONS)
    except RequestError as error:
        raise EnforcementError(error.message) from error
    return {
        block: tuple(replace(each, is_enforced=True) for each in operations)
        for block, operations in found.items()
    }


def resolve_operations(
    operations: Iterable[Operation],
    registry: VectorRegistry,
    dtype: torch.dtype,
    most: int = MAX_OPERATIONS,
) -> dict[int, tuple[BoundedProjection, ...]]:
    """Returns the operations at each block, at most `most`, in order; strength 0 does nothing.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: A vector lacks a layer or is zero there; a block has too many
            operations; a percentile is asked for without calibration; or the model's dtype cannot
            hold a bound.
    """
    found: dict[int, list[BoundedProjection]] = {}
    counts: Counter[int] = Counter()
    for each in operations:
        vector = registry.get(each.trait)
        for block in chosen_blocks(vector, each.layers):
            counts[block] += 1
            unit_vector = torch.from_numpy(direction(vector, block))
            value = raw_bound(each.trait, block, each.value, each.unit, registry)
            if not fits_norm((value * unit_vector).to(dtype)):
                raise InvalidArgumentError(
                    f"the {each.kind} of {each.trait!r} at {value:g} overflows "
                    f"{dtype_name(dtype)} at block {block}: use a smaller one"
                )
            low, high = _low_and_high(each, value)
            if each.strength:
                projection = BoundedProjection(unit_vector, low, high, each.strength)
                found.setdefault(block, []).append(projection)
    check_operations_per_block("steering", counts, most)
    return {block: tuple(found[block]) for block in sorted(found)}


def resolve_condition(when: Condition, first_block: int, registry: VectorRegistry) -> Gate:
    """Returns the condition of a steering that begins at a block.

    Raises:
        TraitNotLoadedError: The trait has no vector.
        InvalidArgumentError: The condition is looked at too late; the vector lacks the layer or is
            zero there; a percentile is asked for without calibration; or the bound is too large.
    """
    block = first_block if when.layer is None else when.layer
    if block > first_block:
        raise InvalidArgumentError(
            f"steering.when looks at layer {block}, after layer {first_block}, which is steered "
            "already: give a layer that is not behind the first steered one"
        )
    unit_vector = torch.from_numpy(direction(registry.get(when.trait), block))
    bound = raw_bound(when.trait, block, when.bound, when.unit, registry)
    if abs(bound) > LARGEST:
        raise InvalidArgumentError(
            f"the bound {bound:g} of steering.when overflows float32: use a smaller one"
        )
    return Gate(block, unit_vector, bound) if when.above else Gate(block, -unit_vector, -bound)


def _low_and_high(operation: Operation, value: float) -> tuple[float, float]:
    low = -math.inf if operation.kind == "cap" else value
    return low, math.inf if operation.kind == "floor" else value


def raw_bound(trait: str, block: int, value: float, unit: Unit, registry: VectorRegistry) -> float:
    """Returns a bound as a projection.

    Raises:
        InvalidArgumentError: It is a percentile of a vector that is not calibrated there.
    """
    if unit == "raw":
        return value
    return registry.calibration(trait).at(block).bound(value)
