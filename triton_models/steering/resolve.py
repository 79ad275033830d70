"""From what a request asks for to how its tokens are steered."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Addition, SteeringParameters
from triton_models.steering.additions import summed_deltas
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
    for name in ("operations", "when", "window"):
        if getattr(steering, name):
            raise InvalidArgumentError(f"steering.{name} is not applied yet: leave it out")
    additions = steering.additions
    prompt = summed_deltas(_at(additions, "prompt"), registry, dtype)
    if all(each.positions == "all" for each in additions):
        return RowSteering(prompt, prompt)
    return RowSteering(prompt, summed_deltas(_at(additions, "response"), registry, dtype))


def _at(additions: Sequence[Addition], part: str) -> list[Addition]:
    return [each for each in additions if each.positions in ("all", part)]
