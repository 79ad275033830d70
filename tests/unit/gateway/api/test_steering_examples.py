"""The OpenAPI document has an example of each kind of steering, in each API.

That they work is what `tests/e2e/test_contract.py` finds out.
"""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.steering_fields import SteeringFields
from gateway.app import create_app
from gateway.settings import Settings
from triton_models.contract.steering import LIMIT_ACTIONS, OPERATION_KINDS, UNITS

SCHEMAS = {"generate": "GenerateRequest", "compare": "CompareRequest", "chat": "ChatRequest"}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    found: dict[str, Any] = create_app(Settings()).openapi()["components"]["schemas"]
    return found


def steerings(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What the examples of a body steer by."""
    bodies = schema["examples"]
    return [body["steering"] for body in bodies if "steering" in body] + [
        steering for body in bodies for steering in body.get("steerings", ())
    ]


@pytest.mark.parametrize("name", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_each_part_and_each_kind_of_steering_has_an_example(
    schemas: dict[str, Any], name: str
) -> None:
    found = steerings(schemas[name])
    parts = {part for steering in found for part in steering} - {"label"}
    placed = {"layers", "positions", "unit"}  # of traits, in the examples
    assert parts | placed == {*SteeringFields.model_fields}
    traits = [each for steering in found for each in steering.get("traits", ())]
    assert placed <= {field for trait in traits for field in trait}
    operations = [each for steering in found for each in steering.get("operations", ())]
    assert {each["kind"] for each in operations} == {*OPERATION_KINDS}
    assert {"strength", "layers"} <= {field for each in operations for field in each}
    limits = [each for steering in found for each in steering.get("limits", ())]
    assert {each.get("action", "stop") for each in limits} == {*LIMIT_ACTIONS}
    conditions = [steering["when"] for steering in found if "when" in steering]
    for several in (conditions, limits):
        assert {"above", "below"} <= {field for each in several for field in each}
        assert {each.get("unit", "raw") for each in several} == {*UNITS}


def test_readouts_of_each_token_and_vectors_in_the_call_have_examples(
    schemas: dict[str, Any],
) -> None:
    bodies = schemas["GenerateRequest"]["examples"]
    assert any(body.get("monitor") and body.get("monitor_tokens") for body in bodies)
    assert any(body.get("vectors") for body in bodies)
