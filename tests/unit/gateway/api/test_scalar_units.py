"""The unit of a scalar reaches the model server, and is refused where only raw ones are bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.comparison_bodies import SweepRequest
from gateway.api.ensemble_requests import request_of
from gateway.api.request_bodies import BaselineRequest, GenerateRequest
from gateway.errors import SteeringRefusedError
from gateway.protection.policy import parse_policy
from gateway.settings import Settings

IN_PROMPTS: dict[str, Any] = {"name": "sarcasm", "scalar": 1.0, "unit": "prompt"}


def inputs_of(**body: Any) -> dict[str, Any]:
    return dict(request_of(GenerateRequest(prompt="hi", **body), Settings()).values)


def test_the_unit_of_prompts_is_said_in_full() -> None:
    found = inputs_of(trait="sarcasm", scalar=1, unit="prompt")
    assert json.loads(found["steering"][0]) == {"traits": [IN_PROMPTS]}
    assert "trait" not in found
    both = {"unit": "prompt", "traits": [{"name": "sarcasm", "scalar": 1}]}
    assert json.loads(inputs_of(steering=both)["steering"][0]) == {"traits": [IN_PROMPTS]}


def test_a_raw_scalar_is_said_as_ever() -> None:
    found = inputs_of(trait="sarcasm", scalar=1, unit="raw")
    assert (found["trait"], found["scalar"]) == (["sarcasm"], [1.0])
    assert "steering" not in found


def test_a_sweep_and_an_answers_label_have_it() -> None:
    body = SweepRequest(prompt="hi", trait="sarcasm", scalars=[-1, 1], unit="prompt")
    assert [each.title for each in body.steerings] == ["sarcasm -1 prompt", "sarcasm +1 prompt"]


def test_who_may_use_some_scalars_only_may_not_use_another_unit() -> None:
    rule = {"user": [-2, 2], "admin": None}
    policy = parse_policy(json.dumps({"default": rule, "traits": {}}))
    body = BaselineRequest(prompt="hi")
    steering = {"steering": [json.dumps({"traits": [IN_PROMPTS]})]}
    asked = request_of(body, Settings(), more=steering)
    policy.check("admin", asked)
    with pytest.raises(SteeringRefusedError, match="in the unit 'prompt' is not allowed"):
        policy.check("user", asked)
