"""What a policy enforces, as the JSON of `steering` says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import MAX_ENFORCED_OPERATIONS, Enforced, Operation
from triton_models.contract.steering_document import parse_enforced, parse_steering

ABLATE = {"trait": "a", "kind": "ablate"}


def test_it_stands_beside_what_the_request_asks_for() -> None:
    document = {"operations": [ABLATE], "enforced": {"operations": [{**ABLATE, "strength": 0.5}]}}
    steering = parse_steering({"steering": [json.dumps(document)]})
    assert steering.operations == (Operation("a", "ablate"),)
    assert steering.enforced == Enforced((Operation("a", "ablate", strength=0.5),))
    assert not parse_steering({}).enforced


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], r"place is \[\]: give an object with operations"),
        ({"when": {}}, "place has 'when': use operations"),
        ({"operations": [{"trait": "a"}]}, r"place.operations\[0\].kind is left out"),
        (
            {"operations": [{**ABLATE, "layers": [1]}] * (MAX_ENFORCED_OPERATIONS + 1)},
            "place has 5 operations at layer 1: give at most 4",
        ),
    ],
)
def test_a_fault_is_named_with_its_place(document: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse_enforced("place", document)
