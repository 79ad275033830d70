"""A program's steering is what the gateway, and Triton, take for it."""

from __future__ import annotations

import pytest

from gateway.api.steering_fields import SteeringFields
from persona_client import (
    Addition,
    Condition,
    InvalidRequestError,
    Operation,
    Steering,
    Window,
    calls,
    triton,
)
from triton_models.contract import steering as contract
from triton_models.contract.steering_document import parse_steering

FULL = Steering(
    {"sarcasm": 2.0, "flattery": Addition(-1.0, layers=(3,), positions="all")},
    layers=(1, 2),
    positions="response",
    label="mine",
    operations=[
        Operation("maliciousness", "cap", 90, unit="percentile", strength=0.5, layers=[1]),
        Operation("flattery", "ablate"),
    ],
    when=Condition("flattery", below=0.5, layer=0),
    window=Window(2, 40, 10),
)


def test_the_gateway_takes_all_that_a_steering_says() -> None:
    body = FULL.to_json()
    assert body.pop("label") == "mine"
    assert SteeringFields(**body).model_dump(exclude_none=True) == body


def test_triton_is_told_the_same_with_each_trait_in_its_place() -> None:
    inputs = triton.make_inputs("hi", {}, {"steering": FULL}, stream=False)
    steering = parse_steering(inputs)
    assert steering.traits == (
        contract.Addition("sarcasm", 2.0, (1, 2), "response"),
        contract.Addition("flattery", -1.0, (3,), "all"),
    )
    assert steering.operations == (
        contract.Operation("maliciousness", "cap", 90.0, "percentile", 0.5, (1,)),
        contract.Operation("flattery", "ablate"),
    )
    assert steering.when == contract.Condition("flattery", 0.5, above=False, layer=0)
    assert steering.window == contract.Window(2, 40, 10)


def test_a_trait_and_a_steering_go_together_and_either_is_enough() -> None:
    scalars = {"flattery": 1.0}
    both = calls.steered_generation("hi", "sarcasm", 2.0, {"steering": scalars})
    assert both.path == "/api/v1/generate"
    assert both.body == {
        "prompt": "hi",
        "trait": "sarcasm",
        "scalar": 2.0,
        "steering": {"traits": [{"name": "flattery", "scalar": 1.0}]},
    }
    one = calls.generation("hi", None, None, {"steering": scalars})
    assert one.path == "/api/v1/generate"
    assert "trait" not in one.body
    with pytest.raises(InvalidRequestError, match="give a trait and a scalar, steering, or both"):
        calls.steered_generation("hi", None, None, {})
