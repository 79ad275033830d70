"""Operations of the command line have a strength, as those of requests have."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app
from tests.unit.client.test_steering_options import asked


async def test_an_operation_can_make_a_part_of_its_change(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--cap", "sarcasm=p90:0.5", "--pin", "sarcasm=-1:1", "--ablate", "flattery:0.25")
    (inputs,) = await asked(monkeypatch, "generate", "hi", *options)
    assert json.loads(inputs["steering"][0])["operations"] == [
        {"trait": "sarcasm", "kind": "cap", "value": 90.0, "unit": "percentile", "strength": 0.5},
        {"trait": "sarcasm", "kind": "pin", "value": -1.0, "strength": 1.0},
        {"trait": "flattery", "kind": "ablate", "strength": 0.25},
    ]


async def test_a_swept_operation_has_a_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = ("sweep", "hi", "--operation", "cap:sarcasm:0.5", "--values", "1,2")
    found = [json.loads(each["steering"][0]) for each in await asked(monkeypatch, *sweep)]
    assert [each["operations"][0]["strength"] for each in found] == [0.5, 0.5]


@pytest.mark.parametrize("text", ["sarcasm:2", "sarcasm:-1", "sarcasm:", "sarcasm:half"])
def test_a_strength_is_a_share(text: str) -> None:
    done = CliRunner().invoke(app, ["generate", "hi", "--ablate", text])
    assert done.exit_code == 2
    assert "give a number from 0 to 1" in " ".join(done.output.replace("│", "").split())
