"""Scalars in the unit `prompt` become factors of the vectors that are loaded."""

from __future__ import annotations

import dataclasses

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Addition, SteeringParameters
from triton_models.steering.additions import chosen_blocks
from triton_models.vectors.registry import VectorRegistry
from triton_models.vectors.unit_scale import raw_scalar


def in_raw_units(steering: SteeringParameters, registry: VectorRegistry) -> SteeringParameters:
    """Returns the same steering with every scalar in the unit `raw`.

    Raises:
        TraitNotLoadedError: A trait has no vector.
        InvalidArgumentError: What a scalar stands for is not known.
    """
    if all(each.unit == "raw" for each in steering.traits):
        return steering
    traits = tuple(_in_raw_units(each, registry) for each in steering.traits)
    return dataclasses.replace(steering, traits=traits)


def _in_raw_units(addition: Addition, registry: VectorRegistry) -> Addition:
    if addition.unit == "raw":
        return addition
    vector = registry.get(addition.trait)
    if vector.operation is not None:
        raise InvalidArgumentError(
            f"the vector of {addition.trait!r} is for the operation {vector.operation.kind}, whose "
            "strength has no unit: give a scalar from 0 to 1 in the unit raw"
        )
    layers = chosen_blocks(vector, addition.layers)
    scalar = raw_scalar(vector, layers, addition.scalar, registry.model)
    return dataclasses.replace(addition, scalar=scalar, unit="raw")
