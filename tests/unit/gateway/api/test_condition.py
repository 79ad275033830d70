"""How often the condition of a steering held is told wherever an answer is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from persona_client import ConditionMet
from persona_client.cli import output
from persona_client.comparisons import Comparison
from persona_client.results import Completion
from tests.unit.gateway.protection_gateway import ANSWER, Server, running

CONDITION = {"tokens": 4, "met": 1}
STEERING = {
    "traits": [{"name": "sarcasm", "scalar": 1.0}],
    "when": {"trait": "flattery", "above": 1.0},
}
CHAT: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    answer = replace(ANSWER, report={"condition": CONDITION})
    async with running(monkeypatch, answer, host="127.0.0.1") as server:
        yield server


async def asked(server: Server, path: str, body: dict[str, Any]) -> str:
    response = await server.http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.text


async def test_rest_and_its_clients_tell_it(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"prompt": "hi", "steering": STEERING}
    completion = Completion.from_json(json.loads(await asked(server, "/api/v1/generate", body)))
    assert completion.condition == ConditionMet(tokens=4, met=1)
    compare = {"prompt": "hi", "baseline": False, "steerings": [{**STEERING, "label": "mine"}]}
    text = await asked(server, "/api/v1/compare", compare)
    (answer,) = Comparison.from_json(json.loads(text)).answers
    assert answer.condition == completion.condition
    output.print_details(completion)
    output.print_comparison([answer])
    shown = capsys.readouterr().out
    assert "\n1 of 4 tokens met the condition\n" in shown
    assert "\nmine: 1 of 4 tokens met the condition\n" in shown


@pytest.mark.parametrize("stream", [False, True])
async def test_openais_calls_tell_it_beside_the_answer(server: Server, stream: bool) -> None:
    steered = {"steering": STEERING, "stream": stream}
    chat = await asked(server, "/v1/chat/completions", {**CHAT, **steered})
    response = await asked(server, "/v1/responses", {"model": "persona", "input": "hi", **steered})
    for text in (chat, response):
        assert '"steering":{"condition":{"tokens":4,"met":1}}' in text.replace(" ", "")


async def test_what_has_no_condition_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, host="127.0.0.1") as server:
        assert "condition" not in await asked(server, "/api/v1/generate/baseline", {"prompt": "hi"})
        assert "steering" not in await asked(server, "/v1/chat/completions", CHAT)
