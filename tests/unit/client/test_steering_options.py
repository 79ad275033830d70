"""The options that say how to steer: what reaches the model, and what cannot be meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.settings import Settings
from persona_client.cli.app import app
from tests.unit.client.test_standard_input import Gateway
from tests.unit.gateway.protection_gateway import running
from tests.unit.gateway.served_gateway import served

BOUNDS = (
    *("--cap", "maliciousness=p90", "--floor", "sarcasm=-2.5", "--pin", "sarcasm=0"),
    *("--ablate", "flattery", "--ablate", "sarcasm"),
    *("--when", "flattery > p50 @ 1", "--window", "2:40:10"),
)
DOCUMENT: dict[str, Any] = {
    "operations": [
        {"trait": "maliciousness", "kind": "cap", "value": 90.0, "unit": "percentile"},
        {"trait": "sarcasm", "kind": "floor", "value": -2.5},
        {"trait": "sarcasm", "kind": "pin", "value": 0.0},
        {"trait": "flattery", "kind": "ablate"},
        {"trait": "sarcasm", "kind": "ablate"},
    ],
    "when": {"trait": "flattery", "above": 50.0, "unit": "percentile", "layer": 1},
    "window": {"from": 2, "to": 40, "fade": 10},
}


async def asked(monkeypatch: pytest.MonkeyPatch, *command: str) -> list[Any]:
    """Returns the inputs of the generations that a command leads to."""
    async with running(monkeypatch) as server, served(server.app, Settings()) as port:
        gateway = Gateway(server, f"http://127.0.0.1:{port}")
        status, _, err = await gateway.persona(*command, given=b"")
        assert (status, err) == (0, "")
        return [dict(each) for each in server.asked]


@pytest.mark.parametrize(
    ("command", "answers"),
    [
        (("generate", "hi"), 1),
        (("generate", "hi", "--trait", "sarcasm", "--scalar", "2", "--json"), 1),
        (("compare", "hi", "--no-baseline"), 1),
        (("compare", "hi", "--trait", "sarcasm", "--scalars", "0,2"), 2),
        (("sweep", "hi", "--trait", "sarcasm", "--scalars", "1,2"), 2),
    ],
)
async def test_what_bounds_traits_reaches_the_model(
    monkeypatch: pytest.MonkeyPatch, command: Sequence[str], answers: int
) -> None:
    found = await asked(monkeypatch, *command, *BOUNDS)
    assert [json.loads(each["steering"][0]) for each in found] == [DOCUMENT] * answers


async def test_one_answer_can_be_steered_by_several_traits(monkeypatch: pytest.MonkeyPatch) -> None:
    steer = ("--steer", "sarcasm=2, flattery=-1", "--layers", "1-2", "--positions", "response")
    (found,) = await asked(monkeypatch, "generate", "hi", *steer)
    assert (found["trait"], found["scalar"]) == (["sarcasm", "flattery"], [2.0, -1.0])
    assert (found["layers"], found["positions"]) == ([1, 2], ["response"])


async def test_bounds_are_at_the_layers_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = await asked(monkeypatch, "generate", "hi", "--ablate", "flattery", "--layers", "2")
    assert json.loads(found["steering"][0]) == {
        "operations": [{"trait": "flattery", "kind": "ablate", "layers": [2]}]
    }


async def test_a_sweep_tries_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    swept = ("--operation", "cap:sarcasm", "--values", "p50,p90", "--steer", "sarcasm=2")
    found = await asked(monkeypatch, "sweep", "hi", *swept)
    assert [json.loads(each["steering"][0])["operations"] for each in found] == [
        [{"trait": "sarcasm", "kind": "cap", "value": value, "unit": "percentile"}]
        for value in (50.0, 90.0)
    ]
    assert [each["trait"] for each in found] == [["sarcasm"]] * 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "hi", "--cap", "sarcasm"),
        ("generate", "hi", "--cap", "=1"),
        ("generate", "hi", "--pin", "sarcasm=nan"),
        ("generate", "hi", "--steer", "sarcasm"),
        ("generate", "hi", "--when", "sarcasm>1"),
        ("generate", "hi", "--window", "0:3"),
        ("generate", "hi", "--ablate", "sarcasm", "--when", "sarcasm"),
        ("generate", "hi", "--ablate", "sarcasm", "--when", "sarcasm>"),
        ("generate", "hi", "--ablate", "sarcasm", "--when", "sarcasm>1@x"),
        ("generate", "hi", "--ablate", "sarcasm", "--window", "5"),
        ("generate", "hi", "--ablate", "sarcasm", "--window", "0:x"),
        ("compare", "hi"),
        ("sweep", "hi"),
        ("sweep", "hi", "--operation", "cap:sarcasm"),
        ("sweep", "hi", "--operation", "ablate:sarcasm", "--values", "1"),
        ("sweep", "hi", "--operation", "cap:sarcasm", "--values", "1,p9"),
        ("sweep", "hi", "--operation", "cap:sarcasm", "--values", "1", "--trait", "sarcasm"),
        ("sweep", "hi", "--trait", "sarcasm", "--values", "1"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: Sequence[str]) -> None:
    done = CliRunner().invoke(app, [*arguments, "--url", "http://127.0.0.1:9"])
    assert done.exit_code == 2, done.output
