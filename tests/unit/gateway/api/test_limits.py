"""Limits are taken, and told, wherever steering is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.gateway.protection_gateway import ANSWER, Server, running

LIMIT = {"trait": "sarcasm", "above": 99.0, "unit": "percentile", "over": 3}
REACHED = {
    **LIMIT,
    "layer": 2,
    "action": "stop",
    "enforced": False,
    "bound": 4.25,
    "projection": 4.5,
    "token": 4,
}
STOPPED = replace(ANSWER, finish_reason="trait_limit", report={"limits_reached": [REACHED]})
CHAT: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
STEERING = {"limits": [LIMIT]}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with running(monkeypatch, STOPPED, host="127.0.0.1") as server:
        yield server


async def asked(server: Server, path: str, body: dict[str, Any]) -> Any:
    response = await server.http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json() if not body.get("stream") else response.text


async def test_rest_takes_and_tells_them(server: Server) -> None:
    answer = await asked(server, "/api/v1/generate", {"prompt": "hi", "steering": STEERING})
    assert (answer["finish_reason"], answer["limits_reached"]) == ("trait_limit", [REACHED])
    assert answer["steering"]["limits"] == [LIMIT]
    assert [json.loads(each["steering"][0]) for each in server.asked] == [STEERING]
    streamed = await asked(
        server, "/api/v1/generate", {"prompt": "hi", "steering": STEERING, "stream": True}
    )
    assert '"finish_reason":"trait_limit"' in streamed.replace(" ", "")


async def test_each_answer_of_several_has_its_own(server: Server) -> None:
    compared = await asked(server, "/api/v1/compare", {"prompt": "hi", "steerings": [STEERING]})
    (answer,) = compared["answers"]
    assert answer["label"] == "stop at sarcasm above p99 for 3 tokens"
    assert answer["limits_reached"] == [REACHED]
    sweep = {"prompt": "hi", "trait": "sarcasm", "scalars": [1, 2], "steering": STEERING}
    swept = await asked(server, "/api/v1/sweep", sweep)
    assert [each["limits_reached"] for each in swept["answers"]] == [[REACHED]] * 2
    baseline, *others = [json.loads(each.get("steering", ["{}"])[0]) for each in server.asked]
    assert (baseline, others) == ({}, [STEERING] * 3)


async def test_openais_calls_say_that_a_filter_ended_the_answer(
    server: Server,
) -> None:
    said = {"limits_reached": [REACHED]}
    chat = await asked(server, "/v1/chat/completions", {**CHAT, "steering": STEERING, "n": 2})
    for choice in chat["choices"]:
        assert (choice["finish_reason"], choice["steering"]) == ("content_filter", said)
    assert chat["usage"]["completion_tokens"] == 10
    tools = [{"type": "function", "function": {"name": "f"}}]
    calling = await asked(server, "/v1/chat/completions", {**CHAT, "tools": tools})
    assert calling["choices"][0]["finish_reason"] == "content_filter"
    text = await asked(server, "/v1/completions", {"model": "persona", "prompt": "hi"})
    assert text["choices"][0]["finish_reason"] == "content_filter"
    response = await asked(server, "/v1/responses", {"model": "persona", "input": "hi"})
    assert (response["status"], response["steering"]) == ("incomplete", said)
    assert response["incomplete_details"] == {"reason": "content_filter"}
    assert response["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("path", "ends"),
    [
        ("/v1/chat/completions", '"finish_reason":"content_filter"'),
        ("/v1/completions", '"finish_reason":"content_filter"'),
        ("/v1/responses", "event:response.incomplete"),
    ],
)
async def test_streams_of_openais_say_so_at_their_end(server: Server, path: str, ends: str) -> None:
    given = {"/v1/responses": {"input": "hi"}, "/v1/completions": {"prompt": "hi"}}
    body = {**given.get(path, CHAT), "model": "persona", "stream": True, "steering": STEERING}
    text = (await asked(server, path, body)).replace(" ", "")
    assert text.count(ends) == 1
    assert text.count('"limits_reached":[{"trait":"sarcasm"') == 1


async def test_they_are_counted_and_written_down_once_they_are_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    async with running(monkeypatch, STOPPED, host="127.0.0.1", audit_log=str(log)) as server:
        await asked(server, "/api/v1/generate", {"prompt": "hi", "steering": STEERING})
        metrics = (await server.http.get("/metrics")).text
    assert 'persona_gateway_limits_reached_total{action="stop",trait="sarcasm"} 1.0' in metrics
    (line,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert (line["finish_reason"], line["limits_reached"]) == ("trait_limit", [REACHED])
    assert line["steering"] == STEERING


async def test_what_reaches_none_is_not_written_down(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    async with running(monkeypatch, host="127.0.0.1", audit_log=str(log)) as server:
        answer = await asked(server, "/api/v1/generate", {"prompt": "hi", "steering": STEERING})
        assert "limits_reached" not in answer
    assert log.read_text() == ""


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({**LIMIT, "trait": "x"}, "unknown trait 'x'"),
        ({**LIMIT, "over": 0}, "over is 0: give an integer from 1"),
        ({**LIMIT, "below": 1}, "has 2 of above and below"),
        ({**LIMIT, "above": 101}, "from 0 to 100"),
        ({**LIMIT, "action": "warn"}, "'stop' or 'report'"),
    ],
)
async def test_a_fault_is_refused_by_name(
    server: Server, limit: dict[str, Any], message: str
) -> None:
    steerings = [{"traits": [{"name": "sarcasm", "scalar": 1}], "limits": [limit]}]
    answer = await server.http.post(
        "/api/v1/compare", json={"prompt": "hi", "steerings": steerings}
    )
    assert answer.status_code in (400, 422)
    assert message in answer.text


@pytest.mark.parametrize("field", ["enforced", "limit"])
async def test_a_client_cannot_pass_for_the_policy(server: Server, field: str) -> None:
    body = {"prompt": "hi", "steering": {**STEERING, field: {}}}
    assert (await server.http.post("/api/v1/generate", json=body)).status_code == 422
    chat = {**CHAT, "steering": {**STEERING, field: {}}}
    answer = await server.http.post("/v1/chat/completions", json=chat)
    assert answer.status_code == 400
    assert not server.asked
