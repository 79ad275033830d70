"""What there is to know about steering that is likely to spoil an answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from triton_models.contract.steering import Addition, SteeringParameters
from triton_models.steering.resolve import resolve_steering
from triton_models.steering.steering_warnings import steering_warnings
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import VectorRegistry


@pytest.fixture
def registry() -> VectorRegistry:
    blocks = {1: np.ones(2, np.float32), 3: np.full(2, 2.0, np.float32)}
    of_a = {"selected_layers": [1], "recommended_range": [-1, 2.5]}
    vectors = {
        "a": PersonaVector("a", "m", blocks, of_a),
        "b": PersonaVector("b", "m", blocks, {"selected_layers": [1]}),
    }
    return VectorRegistry(vectors, {}, ())


def warnings(asked: SteeringParameters, registry: VectorRegistry) -> tuple[str, ...]:
    return steering_warnings(asked, resolve_steering(asked, registry, torch.float32), registry)


def test_a_scalar_outside_the_recommended_range_is_warned_about(registry: VectorRegistry) -> None:
    assert registry.get("a").recommended_range == (-1.0, 2.5)
    for scalar in (-1.0, 0.0, 2.5):
        assert warnings(SteeringParameters({"a": scalar, "b": 99.0}), registry) == ()
    (warning,) = warnings(SteeringParameters({"a": 3.0}), registry)
    assert "the scalar 3 of 'a' is outside" in warning
    assert "-1 to 2.5 at layers 1" in warning


def test_a_range_says_nothing_about_other_layers(registry: VectorRegistry) -> None:
    for asked in (
        SteeringParameters({"a": 0.5}, layers=(3,)),
        SteeringParameters({"a": 9.0}, layers=(1, 3)),
        SteeringParameters(traits=(Addition("a", 0.5, (3,)),)),
    ):
        (warning,) = warnings(asked, registry)
        assert warning == (
            "the range that the vector of 'a' recommends is -1 to 2.5 at layers 1: it says "
            "nothing about layers 3"
        )
    for asked in (
        SteeringParameters({"a": 0.0}, layers=(3,)),
        SteeringParameters({"a": 0.5}, layers=(1,)),
        SteeringParameters({"b": 0.5}, layers=(3,)),
    ):
        assert warnings(asked, registry) == ()


def test_more_than_the_residual_is_warned_about(registry: VectorRegistry) -> None:
    norm = registry.get("b").norms[1]
    known = dataclasses.replace(registry, residual_norms={1: 4 * norm})
    for sign in (1, -1):
        assert warnings(SteeringParameters({"b": 3.9 * sign}), known) == ()
        (warning,) = warnings(SteeringParameters({"b": 10.0 * sign}), known)
        assert "what is added at layer 1 is 2.5 times as large as the residual stream" in warning
    assert warnings(SteeringParameters({"b": 4.1}, positions="response"), known) != ()
    assert warnings(SteeringParameters({"b": 10.0}), registry) == ()
