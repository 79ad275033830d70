"""Limits in the JSON of `steering`, and in what an answer says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import MAX_LIMITS, Enforced, Limit, Operation
from triton_models.contract.steering_document import parse_enforced, parse_steering
from triton_models.contract.steering_report import enforced_json, limit_json

LIMIT = {"trait": "a", "above": 1}


def parse(limits: Any) -> tuple[Limit, ...]:
    return parse_steering({"steering": [json.dumps({"limits": limits})]}).limits


def test_every_field_has_its_meaning() -> None:
    assert parse(
        [
            LIMIT,
            {"trait": "a", "below": 5, "unit": "percentile", "layer": 3, "over": 4},
            {"trait": "b", "above": -1.5, "action": "report"},
        ]
    ) == (
        Limit("a", 1.0, True),
        Limit("a", 5.0, False, "percentile", 3, 4),
        Limit("b", -1.5, True, action="report"),
    )
    assert parse(None) == ()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (LIMIT, "steering.limits is .*: give a list of objects"),
        ([{"above": 1}], r"limits\[0\].trait is left out"),
        ([{"trait": "a"}], r"limits\[0\] has 0 of above and below: give one"),
        ([{**LIMIT, "below": 0}], "has 2 of above and below"),
        ([{**LIMIT, "unit": "sigma"}], "raw, percentile"),
        ([{**LIMIT, "above": 101, "unit": "percentile"}], "from 0 to 100"),
        ([{**LIMIT, "over": 0}], "over is 0: give an integer from 1"),
        ([{**LIMIT, "over": 2**31}], "over is 2147483648"),
        ([{**LIMIT, "over": 1.5}], "over is 1.5: give an integer"),
        ([{**LIMIT, "action": "warn"}], "action is 'warn': give one of stop, report"),
        ([{**LIMIT, "layer": -1}], "layer is -1"),
        ([{**LIMIT, "kind": "cap"}], "has 'kind': use trait, above, below, unit, layer, over"),
        ([LIMIT] * (MAX_LIMITS + 1), "steering has 17 limits: give at most 16"),
    ],
)
def test_a_fault_is_refused_by_name(limits: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse(limits)


def test_what_an_answer_says_of_a_policy_can_be_read_again() -> None:
    enforced = Enforced(
        (Operation("a", "cap", 90.0, "percentile", 0.5, (1, 2)), Operation("b", "ablate")),
        (Limit("a", 99.0, True, "percentile", over=3), Limit("b", 0.0, False, layer=2)),
    )
    assert parse_enforced("enforced", json.loads(json.dumps(enforced_json(enforced)))) == enforced
    assert limit_json(Limit("b", 0.0, False, layer=2)) == {
        "trait": "b",
        "below": 0.0,
        "unit": "raw",
        "layer": 2,
        "over": 1,
        "action": "stop",
    }
