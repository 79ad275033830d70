"""The JSON of `steering`: what it means, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import (
    MAX_OPERATIONS,
    MAX_TRAITS,
    Addition,
    Condition,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.contract.steering_document import parse_steering

ABLATE = {"trait": "a", "kind": "ablate"}
CAP = {"trait": "a", "kind": "cap", "value": 1}
TRAITS = [{"name": "a", "scalar": 1}]


def parse(document: Any = None, **values: Any) -> SteeringParameters:
    if document is not None:
        values["steering"] = [document if isinstance(document, str) else json.dumps(document)]
    return parse_steering(values)


def test_nothing_steers_by_nothing() -> None:
    assert parse() == parse("") == parse({}) == parse({"traits": None}) == SteeringParameters()


def test_every_field_has_its_meaning() -> None:
    steering = parse(
        {
            "traits": [
                {"name": "a", "scalar": 1.5},
                {"name": "b", "scalar": -1, "layers": [4, 2], "positions": "response"},
                {"name": "c", "scalar": 1, "unit": "prompt"},
            ],
            "operations": [
                {"trait": "a", "kind": "cap", "value": 2.5, "layers": [3]},
                {"trait": "a", "kind": "floor", "value": 90, "unit": "percentile"},
                {"trait": "b", "kind": "pin", "value": -1, "strength": 0.5},
                {"trait": "b", "kind": "ablate", "strength": 0},
            ],
            "when": {"trait": "a", "above": 50, "unit": "percentile", "layer": 2},
            "window": {"from": 3, "to": 20, "fade": 5},
        }
    )
    assert steering == SteeringParameters(
        traits=(
            Addition("a", 1.5),
            Addition("b", -1.0, (2, 4), "response"),
            Addition("c", 1.0, unit="prompt"),
        ),
        operations=(
            Operation("a", "cap", 2.5, layers=(3,)),
            Operation("a", "floor", 90.0, "percentile"),
            Operation("b", "pin", -1.0, strength=0.5),
            Operation("b", "ablate", strength=0.0),
        ),
        when=Condition("a", 50.0, True, "percentile", 2),
        window=Window(3, 20, 5),
    )
    assert parse({"operations": [ABLATE], "when": {"trait": "a", "below": 0}}).when == Condition(
        "a", 0.0, False
    )
    assert parse({"operations": [ABLATE], "window": {}}).window == Window()


def test_both_forms_add_up() -> None:
    steering = parse(
        {"traits": [{"name": "a", "scalar": 2}, {"name": "b", "scalar": 3}]},
        trait=["a"],
        scalar=[-0.5],
        layers=[1],
        positions=["prompt"],
    )
    assert steering.additions == (
        Addition("a", -0.5, (1,), "prompt"),
        Addition("a", 2.0),
        Addition("b", 3.0),
    )
    assert steering.totals == {"a": 1.5, "b": 3.0}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "steering is not valid JSON"),
        ([], r"steering is \[\]: give an object with traits, operations, when, window"),
        ({"trait": []}, "steering has 'trait': use traits, operations, when, window"),
        ({"traits": {}}, r"steering.traits is {}: give a list of objects"),
        ({"traits": ["a"]}, r"steering.traits\[0\] is 'a': give an object with name, scalar"),
        ({"traits": [{"scalar": 1}]}, r"traits\[0\].name is left out: give the name of a trait"),
        ({"traits": [{"name": "", "scalar": 1}]}, r"name is ''"),
        ({"traits": [{"name": "a" * 257, "scalar": 1}]}, "has 257 characters"),
        ({"traits": [{"name": "a"}]}, r"scalar is left out: give a finite number"),
        ({"traits": [{"name": "a", "scalar": True}]}, "scalar is True: give a finite number"),
        ('{"traits": [{"name": "a", "scalar": NaN}]}', "scalar is nan: give a finite number"),
        ({"traits": [{"name": "a", "scalar": 10**400}]}, "give a finite number"),
        ({"traits": [{"name": "a", "scalar": 1, "layers": []}]}, r"layers is \[\]: give a list"),
        ({"traits": [{"name": "a", "scalar": 1, "layers": [1, 1]}]}, "each once"),
        ({"traits": [{"name": "a", "scalar": 1, "layers": [-1]}]}, "0-based"),
        ({"traits": [{"name": "a", "scalar": 1, "layers": [1.0]}]}, "0-based"),
        ({"traits": [{"name": "a", "scalar": 1, "positions": "last"}]}, "all, prompt, response"),
        ({"traits": [*TRAITS * (MAX_TRAITS + 1)]}, "17 traits are too many"),
        ({"traits": [{"name": "a", "scalar": 1e39}]}, "a finite number that float32 can hold"),
        ({"operations": [{"trait": "a", "kind": "clamp"}]}, "cap, floor, pin, ablate"),
        ({"operations": [{"trait": "a"}]}, r"operations\[0\].kind is left out"),
        ({"operations": [{"trait": "a", "kind": "cap"}]}, "value is left out: give a finite"),
        ({"operations": [{**ABLATE, "value": 0}]}, "value is given, and ablate always removes"),
        ({"operations": [{**ABLATE, "unit": "raw"}]}, "unit is given, and ablate"),
        ({"operations": [{**ABLATE, "strength": 1.5}]}, "strength is 1.5: give a number from 0"),
        ('{"operations": [{"trait": "a", "kind": "pin", "value": NaN}]}', "value is nan"),
        ({"operations": [{**CAP, "unit": "percentile", "value": 101}]}, "from 0 to 100"),
        ({"operations": [{**CAP, "unit": "sigma"}]}, "raw, percentile"),
        ({"operations": [{**CAP, "layers": [2]}] * 5}, "5 operations at layer 2: give at most 4"),
        ({"operations": [CAP] * (MAX_OPERATIONS * MAX_TRAITS + 1)}, "65 operations"),
        ({"traits": TRAITS, "when": {"trait": "a"}}, "has 0 of above and below"),
        ({"traits": TRAITS, "when": {"trait": "a", "above": 1, "below": 2}}, "has 2 of above"),
        ({"traits": TRAITS, "when": {"trait": "a", "above": "x"}}, "above is 'x'"),
        ({"traits": TRAITS, "when": {"above": 1}}, "when.trait is left out"),
        ({"traits": TRAITS, "when": {"trait": "a", "above": 1, "layer": -1}}, "layer is -1"),
        ({"when": {"trait": "a", "above": 1}}, "when has nothing to steer"),
        ({"traits": TRAITS, "window": {"from": 5, "to": 5}}, "which holds no token"),
        ({"traits": TRAITS, "window": {"fade": 2}}, "fade is 2 tokens before to"),
        ({"traits": TRAITS, "window": {"from": 1, "to": 4, "fade": 4}}, "the window has 3 tokens"),
        ({"traits": TRAITS, "window": {"from": 2**31}}, "from is 2147483648: give an integer"),
        ({"traits": TRAITS, "window": {"to": True}}, "to is True: give an integer from 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(document: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse(document)
