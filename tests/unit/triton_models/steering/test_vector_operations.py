"""Vectors that are meant for an operation: what a trait and a scalar come to then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.triton_models.vectors.calibrations import MODEL, calibrated
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Addition, Operation, SteeringParameters
from triton_models.steering.resolve import resolve_steering
from triton_models.steering.row_steering import RowSteering
from triton_models.steering.scalar_units import in_raw_units
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry

BLOCKS = {
    1: np.array([3.0, 4.0], np.float32),
    2: np.array([0.0, 2.0], np.float32),
}


def vector(trait: str, **metadata: Any) -> PersonaVector:
    return PersonaVector(trait, "m", BLOCKS, {"selected_layers": [1], **metadata})


def for_percentile() -> PersonaVector:
    found = calibrated("bounded", 1)
    found.metadata["operation"] = {"kind": "cap", "value": 90, "unit": "percentile"}
    return found


VECTORS = {
    "added": vector("added"),
    "removed": vector("removed", operation="ablate"),
    "pinned": vector("pinned", operation={"kind": "pin", "value": 2.5}),
    "bounded": for_percentile(),
}


def resolve(**fields: Any) -> RowSteering:
    registry = VectorRegistry(VECTORS, {}, (), model=MODEL)
    return resolve_steering(SteeringParameters(**fields), registry, torch.float32)


@pytest.mark.parametrize(
    ("trait", "operation"),
    [
        ("removed", Operation("removed", "ablate")),
        ("pinned", Operation("pinned", "pin", 2.5)),
        ("bounded", Operation("bounded", "cap", 90.0, "percentile")),
    ],
)
def test_a_scalar_is_the_strength_of_the_operation(trait: str, operation: Operation) -> None:
    explicit = resolve(operations=(operation,))
    for short in ({"scalars": {trait: 1.0}}, {"traits": (Addition(trait, 1.0),)}):
        found = resolve(**short)
        assert not found.prompt
        assert found.prompt_key == explicit.prompt_key != ""
    (weaker,) = resolve(scalars={trait: 0.25}).operations[1]
    assert weaker.strength == 0.25


def test_layers_are_those_of_the_request_or_those_that_the_vector_selects() -> None:
    assert list(resolve(scalars={"removed": 1.0}).operations) == [1]
    assert list(resolve(scalars={"removed": 1.0}, layers=(1, 2)).operations) == [1, 2]
    with pytest.raises(InvalidArgumentError, match=r"no layers \[3\]"):
        resolve(scalars={"removed": 1.0}, layers=(3,))


def test_it_comes_before_the_operations_and_after_what_is_added() -> None:
    found = resolve(
        scalars={"added": 2.0, "removed": 1.0},
        operations=(Operation("added", "cap", 1.0),),
    )
    assert list(found.prompt) == [1]
    assert [each.high for each in found.operations[1]] == [0.0, 1.0]


def test_a_scalar_of_0_does_nothing() -> None:
    assert resolve(scalars={"removed": 0.0}) == RowSteering()


@pytest.mark.parametrize("scalar", [-0.5, 1.001, 2.0, float("nan")])
def test_a_scalar_that_is_no_strength_is_refused_by_name(scalar: float) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        resolve(scalars={"removed": scalar})
    assert refused.value.message == (
        "the vector of 'removed' is for the operation ablate, whose strength the scalar is: "
        f"{scalar:g} is not from 0 to 1"
    )


@pytest.mark.parametrize("positions", ["prompt", "response"])
def test_it_is_for_all_tokens(positions: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"positions cannot be {positions}"):
        resolve(scalars={"removed": 1.0}, positions=positions)


def test_its_strength_has_no_unit() -> None:
    steering = SteeringParameters(traits=(Addition("removed", 1.0, unit="prompt"),))
    registry = VectorRegistry(VECTORS, {}, (), model=MODEL)
    with pytest.raises(InvalidArgumentError, match="ablate, whose strength has no unit"):
        in_raw_units(steering, registry)


def test_an_operation_of_the_request_s_own_takes_the_vector_for_its_direction() -> None:
    (found,) = resolve(operations=(Operation("removed", "floor", 3.0),)).operations[1]
    assert (found.low, found.strength) == (3.0, 1.0)
