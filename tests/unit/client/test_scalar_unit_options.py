"""`--unit`, and the scalars that are tried when none are given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from persona_client import PersonaClient, Steering
from persona_client.cli.steering_options import default_scalars
from persona_client.results import Trait
from tests.unit.client.test_steering_options import asked


def trait_with(scale: dict[str, float] | None) -> Trait:
    return Trait("sarcasm", "m", (1,), 1, unit_scale=scale)


def tried(
    monkeypatch: pytest.MonkeyPatch, scale: dict[str, float] | None, **steering: Any
) -> list[float]:
    monkeypatch.setattr(PersonaClient, "trait", lambda self, name: trait_with(scale))
    with PersonaClient("http://127.0.0.1:9") as client:
        return default_scalars(client, "sarcasm", Steering({}, **steering), (-1, 0, 0.5))


def test_default_scalars_do_as_much_as_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = {"positive": 3.25, "negative": 1.5}
    assert tried(monkeypatch, scale) == [-1.5, 0, 1.62]
    assert tried(monkeypatch, None) == [-2, 0, 1]
    assert tried(monkeypatch, scale, layers=[2]) == [-2, 0, 1]
    assert tried(monkeypatch, scale, unit="prompt") == [-1, 0, 0.5]


@pytest.mark.parametrize(
    ("command", "scalars"),
    [
        (("generate", "hi", "--trait", "sarcasm", "--scalar", "1"), [1.0]),
        (("generate", "hi", "--steer", "sarcasm=1"), [1.0]),
        (("compare", "hi", "--trait", "sarcasm"), [-1.0, 0.0, 1.0]),
        (("sweep", "hi", "--trait", "sarcasm"), [-1.0, -0.5, 0.0, 0.5, 1.0]),
    ],
)
async def test_the_unit_reaches_the_model(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], scalars: list[float]
) -> None:
    found = await asked(monkeypatch, *command, "--unit", "prompt")
    said = [json.loads(each["steering"][0])["traits"] for each in found]
    assert [(each["name"], each["scalar"], each["unit"]) for (each,) in said] == [
        ("sarcasm", scalar, "prompt") for scalar in scalars
    ]
