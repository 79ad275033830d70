"""From what a request asks for to how its tokens are steered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Addition, Operation, SteeringParameters
from triton_models.steering.additions import summed_deltas
from triton_models.steering.bounded_projections import resolve_condition, resolve_operations
from triton_models.steering.row_steering import RowSteering
from triton_models.vectors.registry import VectorRegistry


def resolve_steering(
    steering: SteeringParameters, registry: VectorRegistry, dtype: torch.dtype
) -> RowSteering:
    """Returns how a request's tokens are steered by the vectors that are loaded.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: What was asked for cannot be applied.
    """
    additions, meant = _additions_and_operations(steering.additions, registry)
    when, window = steering.when, steering.window
    prompt = summed_deltas(_at(additions, "prompt"), registry, dtype)
    response = prompt
    if any(each.positions != "all" for each in additions):
        response = summed_deltas(_at(additions, "response"), registry, dtype)
    operations = resolve_operations((*meant, *steering.operations), registry, dtype)
    blocks = {*prompt, *response, *operations}
    if when is not None:
        registry.get(when.trait)
    if not blocks:
        return RowSteering()
    if window is not None and not (response or operations):
        raise InvalidArgumentError(
            "steering.window has no generated token to steer, since positions are prompt: use "
            "all or response, or leave window out"
        )
    gate = resolve_condition(when, min(blocks), registry) if when is not None else None
    return RowSteering(prompt, response, operations, gate, window)


def _additions_and_operations(
    named: Iterable[Addition], registry: VectorRegistry
) -> tuple[list[Addition], list[Operation]]:
    """Tells what is added from what names a vector that is meant for an operation instead."""
    additions, operations = [], []
    for each in named:
        operation = registry.get(each.trait).operation
        if operation is None:
            additions.append(each)
        else:
            operations.append(_of_strength(operation, each))
    return additions, operations


def _of_strength(operation: Operation, named: Addition) -> Operation:
    """Returns the operation that a vector is meant for, as a request names it with a scalar."""
    is_for = f"the vector of {named.trait!r} is for the operation {operation.kind}"
    if not 0.0 <= named.scalar <= 1.0:
        raise InvalidArgumentError(
            f"{is_for}, whose strength the scalar is: {named.scalar:g} is not from 0 to 1"
        )
    if named.positions != "all":
        raise InvalidArgumentError(
            f"{is_for}, which is done to all tokens: positions cannot be {named.positions}"
        )
    return replace(operation, strength=named.scalar, layers=named.layers)


def _at(additions: Sequence[Addition], part: str) -> list[Addition]:
    return [each for each in additions if each.positions in ("all", part)]
