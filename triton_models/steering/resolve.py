"""From what a request asks for to how its tokens are steered."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Addition, SteeringParameters
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
    additions, when, window = steering.additions, steering.when, steering.window
    prompt = summed_deltas(_at(additions, "prompt"), registry, dtype)
    response = prompt
    if any(each.positions != "all" for each in additions):
        response = summed_deltas(_at(additions, "response"), registry, dtype)
    operations = resolve_operations(steering.operations, registry, dtype)
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


def _at(additions: Sequence[Addition], part: str) -> list[Addition]:
    return [each for each in additions if each.positions in ("all", part)]
