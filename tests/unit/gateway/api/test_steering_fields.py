"""Steering means the same wherever a request says it, and what is wrong with it is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.api.ensemble_requests import request_of, steering_inputs
from gateway.api.request_bodies import GenerateRequest
from gateway.api.steering_fields import Steering, SteeringFields
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import UnprocessableError
from gateway.settings import Settings
from triton_models.contract.steering import Addition, Condition, Operation, Window

FULL: dict[str, Any] = {
    "traits": [
        {"name": "sarcasm", "scalar": 1.5, "layers": [2, 1], "positions": "response"},
        {"name": "flattery", "scalar": -1},
    ],
    "operations": [
        {"trait": "maliciousness", "kind": "cap", "value": 90, "unit": "percentile"},
        {"trait": "sarcasm", "kind": "ablate", "strength": 0.5, "layers": [3]},
    ],
    "when": {"trait": "flattery", "above": 0.5, "layer": 1},
    "window": {"from": 2, "to": 40, "fade": 10},
}


def asked(**body: Any) -> EnsembleRequest:
    return request_of(GenerateRequest(**{"prompt": "hi", **body}), Settings())


def test_all_of_it_reaches_the_engine_as_it_was_said() -> None:
    request = asked(steering=FULL)
    steering = request.parsed.steering
    assert steering.additions == (
        Addition("sarcasm", 1.5, (1, 2), "response"),
        Addition("flattery", -1.0),
    )
    assert steering.operations == (
        Operation("maliciousness", "cap", 90.0, "percentile"),
        Operation("sarcasm", "ablate", strength=0.5, layers=(3,)),
    )
    assert steering.when == Condition("flattery", 0.5, above=True, layer=1)
    assert steering.window == Window(2, 40, 10)
    assert json.loads(request.values["steering"][0]) == FULL


def test_traits_in_one_place_are_said_in_the_short_form() -> None:
    traits: list[Any] = [{"name": "sarcasm", "scalar": 1}, {"name": "sarcasm", "scalar": 2}]
    inputs = steering_inputs(Steering(traits=traits, layers=[1], positions="prompt"))
    assert inputs == {
        "trait": ["sarcasm", "sarcasm"],
        "scalar": [1.0, 2.0],
        "layers": [1],
        "positions": ["prompt"],
    }
    placed: list[Any] = [{**each, "layers": [1], "positions": "prompt"} for each in traits]
    assert steering_inputs(Steering(traits=placed)) == inputs


def test_layers_and_positions_hold_for_the_traits_that_name_none() -> None:
    traits: list[Any] = [{"name": "a", "scalar": 1, "layers": [3]}, {"name": "b", "scalar": 1}]
    fields = SteeringFields(traits=traits, layers=[1, 2], positions="response")
    placed = [(each.name, each.layers, each.positions) for each in fields.placed_traits]
    assert placed == [("a", [3], "response"), ("b", [1, 2], "response")]


def test_both_forms_add_up_each_in_its_own_place() -> None:
    request = asked(
        trait="sarcasm",
        scalar=2,
        layers=[1],
        steering={"traits": [{"name": "sarcasm", "scalar": -0.5}], "positions": "response"},
    )
    assert request.parsed.steering.additions == (
        Addition("sarcasm", 2.0, (1,)),
        Addition("sarcasm", -0.5, None, "response"),
    )
    assert request.scalars == {"sarcasm": 1.5}


def test_bounds_need_no_trait_to_add() -> None:
    request = asked(steering={"operations": [{"trait": "sarcasm", "kind": "ablate"}]})
    assert request.scalars == {}
    assert request.parsed.steering.operations == (Operation("sarcasm", "ablate"),)
    assert "trait" not in request.values


@pytest.mark.parametrize(
    ("steering", "says"),
    [
        ({"operations": [{"trait": "a", "kind": "cap"}]}, r"operations\[0\].value is left out"),
        ({"operations": [{"trait": "a", "kind": "ablate", "value": 1}]}, "ablate always removes"),
        (
            {"operations": [{"trait": "a", "kind": "pin", "value": 101, "unit": "percentile"}]},
            r"operations\[0\].value is 101.0: give a number from 0 to 100",
        ),
        ({"operations": [{"trait": "a", "kind": "ablate", "strength": 2}]}, "strength is 2.0"),
        (
            {"operations": [{"trait": "a", "kind": "ablate", "layers": [1]}] * 5},
            "5 operations at layer 1: give at most 4",
        ),
        ({**FULL, "when": {"trait": "a"}}, "0 of above and below"),
        ({**FULL, "when": {"trait": "a", "above": 1, "below": 0}}, "2 of above and below"),
        ({**FULL, "window": {"from": 4, "to": 4}}, "which holds no token"),
        ({**FULL, "window": {"fade": 4}}, "give to as well"),
        ({**FULL, "traits": [{"name": "a", "scalar": 1, "layers": [1, 1]}]}, "each once"),
    ],
)
def test_what_the_fields_cannot_say_is_refused_by_its_place(
    steering: dict[str, Any], says: str
) -> None:
    with pytest.raises(UnprocessableError, match=says):
        asked(steering=steering)


def test_a_steering_is_called_by_what_it_does() -> None:
    assert Steering(**FULL).title == (
        "sarcasm +1.5, flattery -1, cap maliciousness p90, ablate sarcasm, when flattery above "
        "0.5, from 2 to 40"
    )
