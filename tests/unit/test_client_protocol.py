"""The client reads what the gateway writes, however the network cuts it into pieces."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from client import errors, protocol
from client.results import Chunk, Completion, LikelyToken, Status, TokenLogprob, Trait
from gateway.event_stream import format_event

DONE = {
    "success": True,
    "response": "Hello",
    "trait": "sarcasm",
    "scalar": 2.0,
    "tokens_generated": 2,
    "error": None,
    "finish_reason": "stop",
    "prompt_tokens": 4,
}


def read(text: str, size: int) -> list[protocol.Event]:
    reader = protocol.EventReader()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_events_survive_any_cut(size: int, line_end: str) -> None:
    text = 'event: chunk\ndata: {"a":1}\n\n: still here\n\nevent: done\ndata: {}\n\n'
    assert read(text.replace("\n", line_end), size) == [
        protocol.Event("chunk", '{"a":1}'),
        protocol.Event("done", "{}"),
    ]


def test_any_text_of_an_answer_arrives_as_it_was() -> None:
    text = "a\u2028b\u0085c\n\r\n日本 👩‍👩‍👧"
    (event,) = read(format_event("chunk", {"text": text, "tokens_generated": 1}).decode(), 3)
    assert protocol.read_event(event) == Chunk(text, 1)


def test_the_last_event_is_the_whole_answer() -> None:
    assert protocol.read_event(protocol.Event("done", json.dumps(DONE))) == Completion(
        "Hello", "sarcasm", 2.0, 2, "stop", 4
    )


TOKEN = {
    "token": "Hi",
    "bytes": [72, 105],
    "logprob": -0.5,
    "top_logprobs": [{"token": "He", "bytes": [72, 101], "logprob": -1.0}],
}
LOGPROB = TokenLogprob("Hi", (72, 105), -0.5, (LikelyToken("He", (72, 101), -1.0),))


def test_what_was_asked_for_besides_the_text_is_typed() -> None:
    chunk = {"text": "Hi", "tokens_generated": 1, "logprobs": [TOKEN]}
    assert protocol.read_event(protocol.Event("chunk", json.dumps(chunk))) == Chunk(
        "Hi", 1, (LOGPROB,)
    )
    done = {**DONE, "reused_tokens": 3, "logprobs": [TOKEN], "readouts": {"sarcasm": {"15": 1.5}}}
    completion = protocol.read_event(protocol.Event("done", json.dumps(done)))
    assert isinstance(completion, Completion)
    assert (completion.reused_tokens, completion.logprobs) == (3, (LOGPROB,))
    assert completion.readouts == {"sarcasm": {15: 1.5}}


def test_what_was_not_asked_for_is_none_and_an_older_server_is_understood() -> None:
    completion = Completion.from_json(DONE)
    assert (completion.logprobs, completion.readouts, completion.reused_tokens) == (None, None, 0)


def test_an_error_event_is_raised_by_its_code() -> None:
    data = json.dumps({"error": "restarting", "code": "unavailable"})
    with pytest.raises(errors.UnavailableError, match="restarting"):
        protocol.read_event(protocol.Event("error", data))


def test_events_of_a_later_server_are_passed_over() -> None:
    assert protocol.read_event(protocol.Event("usage", "{}")) is None


def test_a_trait_makes_the_call_a_steered_one() -> None:
    path, body = protocol.generation_call("hi", "sarcasm", 2.0, {"top_k": 5}, stream=False)
    assert path == "/api/v1/generate"
    assert body == {"prompt": "hi", "trait": "sarcasm", "scalar": 2.0, "top_k": 5}


def test_no_trait_makes_it_a_baseline() -> None:
    path, body = protocol.generation_call("hi", None, 0.0, {}, stream=True)
    assert (path, body) == ("/api/v1/generate/baseline", {"prompt": "hi", "stream": True})


def respond(status: int, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = httpx.Request("GET", "http://gateway/x")
    return httpx.Response(status, content=content, headers=headers, request=request)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (404, errors.NotFoundError),
        (422, errors.InvalidRequestError),
        (429, errors.OverloadedError),
        (500, errors.ServerError),
        (503, errors.UnavailableError),
        (504, errors.ServerError),
    ],
)
def test_every_error_status_is_an_exception_with_the_server_s_message(
    status: int, kind: type[errors.PersonaError]
) -> None:
    response = respond(status, {"error": "because", "code": "c"}, {"Retry-After": "2"})
    with pytest.raises(kind) as raised:
        protocol.read_body(response, Status.from_json)
    assert (raised.value.message, raised.value.status, raised.value.code) == (
        "because",
        status,
        "c",
    )
    assert getattr(raised.value, "retry_after", 2.0) == 2.0


def test_an_error_of_some_proxy_is_an_exception_too() -> None:
    with pytest.raises(errors.ServerError, match="502"):
        protocol.read_body(respond(502, b"<html>"), Status.from_json)


@pytest.mark.parametrize("body", [b"<html>", {"unexpected": 1}, []])
def test_a_server_that_is_no_gateway_is_recognized(body: Any) -> None:
    with pytest.raises(errors.ServerError, match="gateway"):
        protocol.read_body(respond(200, body), Completion.from_json)


def test_traits_and_status_are_typed() -> None:
    body = {
        "trait_name": "sarcasm",
        "model_name": "m",
        "layers": [1, 2],
        "layer_count": 2,
        "metadata": {},
        "warnings": ["w"],
    }
    assert protocol.read_traits({"traits": {"sarcasm": body}}) == {
        "sarcasm": Trait("sarcasm", "m", (1, 2), 2, {}, ("w",))
    }
    status = Status.from_json(
        {
            "status": "initializing",
            "model": "m",
            "device": "cpu",
            "available_traits": [],
            "model_info": {},
            "error": "starting",
        }
    )
    assert (status.ready, status.error) == (False, "starting")


def test_a_trait_s_name_is_one_part_of_the_path() -> None:
    assert protocol.trait_path("a/b c") == "/api/v1/traits/a%2Fb%20c"
