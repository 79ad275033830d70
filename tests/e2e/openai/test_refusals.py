"""Refusals, headers, streams on the wire, and a client that goes away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.openai.chatting import MESSAGES, MODEL, SARCASM, chat
from tests.e2e.waiting import eventually


@pytest.mark.parametrize(
    ("options", "kind", "param", "says"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model", "'persona-demo'"),
        ({"model": "persona:rudeness=1"}, openai.NotFoundError, "model", "sarcasm"),
        ({"tools": [{}]}, openai.BadRequestError, "tools.0.type", "required"),
        ({"functions": [{}]}, openai.BadRequestError, "functions", "by tools"),
        ({"temperature": 9}, openai.BadRequestError, "temperature", "from 0 to 2"),
        ({"max_tokens": 100_000}, openai.BadRequestError, "messages", "max_tokens"),
        ({"extra_body": {"stering": SARCASM}}, openai.BadRequestError, "stering", "steering"),
        (
            {"extra_body": {"steering": {"traits": [{"name": "rudeness", "scalar": 1}]}}},
            openai.BadRequestError,
            None,
            "the traits are",
        ),
        (
            {"extra_body": {"steering": {**SARCASM, "layers": [99]}}},
            openai.BadRequestError,
            None,
            "no layers [99]",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_the_client_s_own_errors(
    client: OpenAI,
    options: dict[str, Any],
    kind: type[openai.APIStatusError],
    param: str | None,
    says: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        chat(client, stream=stream, **options)
    assert says in caught.value.message
    assert caught.value.param == param
    assert caught.value.request_id


def test_raw_responses_have_the_headers_and_the_error(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response
    answer = raw.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    assert answer.headers["x-request-id"]
    assert answer.parse().choices[0].finish_reason == "length"
    with pytest.raises(openai.NotFoundError) as caught:
        raw.create(model="gpt-4o", messages=MESSAGES)
    assert caught.value.response.json()["error"]["code"] == "model_not_found"


def test_a_stream_on_the_wire_is_data_lines_and_done(api: httpx.Client) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "stream": True, "max_tokens": 3}
    response = api.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


def test_a_client_that_goes_away_stops_all_its_answers(client: OpenAI, stack: Stack) -> None:
    address = stack.settings.grpc_address
    before = num_cancelled(address)

    def begin() -> Any:
        stream = chat(client, n=3, stream=True, max_tokens=900, extra_body={"min_tokens": 900})
        next(iter(stream))
        return stream

    with ThreadPoolExecutor(1) as pool, held_engine(stack.triton) as engine:
        begun = pool.submit(begin)
        assert eventually(lambda: num_open(address) == 3)
        engine.steps(2 * BEGINNING)
        begun.result().close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 3)
