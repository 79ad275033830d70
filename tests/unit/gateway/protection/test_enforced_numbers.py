"""A policy's numbers are such that every answer can repeat them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.response_bodies import Enforced
from gateway.protection.configuration import ConfigurationError
from gateway.protection.policy import parse_policy
from triton_models.contract.steering_report import enforced_json

FREE = {"user": None, "admin": None}
LARGEST = 3.4028234663852886e38
SMALLEST = 1.401298464324817e-45


def enforced(list_name: str, **fields: Any) -> dict[str, Any]:
    return {"user": {list_name: [{"trait": "a", **fields}]}, "admin": None}


def policy(enforced: Any) -> str:
    return json.dumps({"default": FREE, "traits": {}, "enforced": enforced})


@pytest.mark.parametrize("number", [0.0, SMALLEST, -LARGEST, LARGEST, 0.1])
def test_what_is_enforced_can_be_told(number: float) -> None:
    for given in (
        enforced("limits", below=number),
        enforced("operations", kind="cap", value=number),
    ):
        said = enforced_json(parse_policy(policy(given)).enforced_on("user"))
        assert Enforced(**said).model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (enforced("limits", above=1e39), r"limits\[0\].above is 1e\+39: give a finite number that"),
        (enforced("limits", below=-1e-60), r"limits\[0\].below is -1e-60: give a finite number"),
        (
            enforced("limits", above=1e-60, unit="percentile"),
            r"limits\[0\].above is 1e-60: give a number from 0 to 100",
        ),
        (enforced("operations", kind="cap", value=-1e39), r"operations\[0\].value is -1e\+39"),
        (
            enforced("operations", kind="ablate", strength=1e-60),
            r"operations\[0\].strength is 1e-60",
        ),
    ],
)
def test_what_no_answer_can_tell_is_no_policy(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_policy(policy(given))
