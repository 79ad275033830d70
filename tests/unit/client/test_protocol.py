"""The client reads what the gateway writes, however the network cuts it into pieces."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.http.server_sent_events import format_event
from persona_client import calls, errors, protocol
from persona_client.comparisons import AnswerChunk, Comparison, Steering, SweptAnswer
from persona_client.readers import CompletionReader
from persona_client.results import Chunk, Completion, LikelyToken, Status, TokenLogprob, Trait

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
    stream = format_event("chunk", {"text": text, "tokens_generated": 1}).decode()
    reader = CompletionReader()
    pieces = [stream[start : start + 3] for start in range(0, len(stream), 3)]
    assert [each for piece in pieces for each in reader.feed(piece)] == [Chunk(text, 1)]


def feed(reader: Any, *events: tuple[str, Any]) -> list[Any]:
    text = "".join(format_event(name, data).decode() for name, data in events)
    return list(reader.feed(text))


def test_the_last_event_is_the_whole_answer() -> None:
    reader = CompletionReader()
    with pytest.raises(RuntimeError, match="not ended"):
        _ = reader.whole
    with pytest.raises(errors.ConnectionFailedError, match="no end event"):
        reader.check_ended()
    assert feed(reader, ("done", DONE)) == []
    reader.check_ended()
    assert reader.whole == Completion("Hello", "sarcasm", 2.0, 2, "stop", 4)


def test_a_stream_has_begun_once_there_was_something_to_yield() -> None:
    reader = CompletionReader()
    feed(reader, ("usage", {}))
    assert not reader.begun
    feed(reader, ("chunk", {"text": "a", "tokens_generated": 1}))
    assert reader.begun


TOKEN = {
    "token": "Hi",
    "bytes": [72, 105],
    "logprob": -0.5,
    "top_logprobs": [{"token": "He", "bytes": [72, 101], "logprob": -1.0}],
}
LOGPROB = TokenLogprob("Hi", (72, 105), -0.5, (LikelyToken("He", (72, 101), -1.0),))


def test_what_was_asked_for_besides_the_text_is_typed() -> None:
    chunk = {"text": "Hi", "tokens_generated": 1, "logprobs": [TOKEN]}
    reader = CompletionReader()
    assert feed(reader, ("chunk", chunk)) == [Chunk("Hi", 1, (LOGPROB,))]
    done = {**DONE, "reused_tokens": 3, "logprobs": [TOKEN], "readouts": {"sarcasm": {"15": 1.5}}}
    feed(reader, ("done", done))
    completion = reader.whole
    assert (completion.reused_tokens, completion.logprobs) == (3, (LOGPROB,))
    assert completion.readouts == {"sarcasm": {15: 1.5}}


def test_what_was_not_asked_for_is_none_and_an_older_server_is_understood() -> None:
    completion = Completion.from_json(DONE)
    assert (completion.logprobs, completion.readouts, completion.reused_tokens) == (None, None, 0)


def test_an_error_event_is_raised_by_its_code() -> None:
    with pytest.raises(errors.UnavailableError, match="restarting"):
        feed(CompletionReader(), ("error", {"error": "restarting", "code": "unavailable"}))


@pytest.mark.parametrize(
    "event",
    [
        "event: chunk\ndata: {}\n\n",
        "event: chunk\ndata: half of {\n\n",
        "event: error\ndata: []\n\n",
        "event: done\ndata: null\n\n",
        "data: " + "[" * 100_000 + "\n\n",
    ],
)
def test_an_event_that_no_gateway_sends_is_an_error_like_any_other(event: str) -> None:
    with pytest.raises(errors.ServerError, match="is the address right"):
        list(CompletionReader().feed(event))


def test_events_of_a_later_server_are_passed_over() -> None:
    assert feed(CompletionReader(), ("usage", {})) == []


def test_a_trait_makes_the_call_a_steered_one() -> None:
    call = calls.generation("hi", "sarcasm", 2.0, {"top_k": 5})
    assert call.path == "/api/v1/generate"
    assert call.body == {"prompt": "hi", "trait": "sarcasm", "scalar": 2.0, "top_k": 5}


def test_no_trait_makes_it_a_baseline() -> None:
    call = calls.generation_stream("hi", None, 0.0, {})
    assert (call.path, call.body) == (
        "/api/v1/generate/baseline",
        {"prompt": "hi", "stream": True},
    )


def answer(index: int, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "success": True,
        "response": f"answer {index}",
        "tokens_generated": 2,
        "finish_reason": "stop",
        "prompt_tokens": 4,
        "reused_tokens": 0,
        "warnings": [],
        "error": None,
        **more,
    }


def compared(index: int, **traits: float) -> dict[str, Any]:
    named = [{"name": name, "scalar": scalar} for name, scalar in traits.items()]
    steering = {"traits": named, "layers": None, "positions": None} if traits else None
    return answer(index, label="a label", steering=steering)


def test_a_comparison_asks_for_its_steerings_and_leaves_out_what_is_not_given() -> None:
    steerings: list[Any] = [
        {"sarcasm": 2.0},
        Steering({"flattery": 1.0}, (1, 2), "response", "kind"),
    ]
    call = calls.comparison("hi", steerings, True, {"seed": 3})
    assert (call.path, call.body) == (
        "/api/v1/compare",
        {
            "prompt": "hi",
            "seed": 3,
            "steerings": [
                {"traits": [{"name": "sarcasm", "scalar": 2.0}]},
                {
                    "traits": [{"name": "flattery", "scalar": 1.0}],
                    "layers": [1, 2],
                    "positions": "response",
                    "label": "kind",
                },
            ],
        },
    )
    without = calls.comparison("hi", [{"sarcasm": 2.0}], False, {}).body
    assert without is not None
    assert without["baseline"] is False


def test_a_streamed_comparison_ends_as_the_one_that_is_not() -> None:
    baseline, steered = compared(0), compared(1, sarcasm=2.0, flattery=-1.0)
    whole = {"success": True, "seed": 7, "baseline": baseline, "answers": [steered]}
    reader = calls.comparison_stream("hi", [{"sarcasm": 2.0}], True, {}).reader()
    items = feed(
        reader,
        ("chunk", {"index": 1, "text": "a", "tokens_generated": 1}),
        ("answer", steered),
        ("answer", baseline),
        ("done", {"success": True, "seed": 7, "failed": 0}),
    )
    assert items[0] == AnswerChunk("a", 1, index=1)
    assert reader.whole == Comparison.from_json(whole)
    assert reader.whole.answers[0].traits == {"sarcasm": 2.0, "flattery": -1.0}
    assert [each.index for each in reader.whole.all_answers] == [0, 1]


def test_a_comparison_without_a_baseline_has_none() -> None:
    body = {"success": True, "seed": 7, "baseline": None, "answers": [compared(1, sarcasm=2.0)]}
    assert Comparison.from_json(body).baseline is None
    reader = calls.comparison_stream("hi", [{"sarcasm": 2.0}], False, {}).reader()
    done = {"success": True, "seed": 7, "failed": 0}
    feed(reader, ("answer", compared(1, sarcasm=2.0)), ("done", done))
    assert reader.whole == Comparison.from_json(body)


def test_a_sweep_s_answers_come_in_order_and_failed_ones_say_why() -> None:
    call = calls.sweep_stream("hi", "sarcasm", (0, 1), True, {"positions": "response"})
    assert call.body == {
        "prompt": "hi",
        "trait": "sarcasm",
        "scalars": [0, 1],
        "scores": True,
        "positions": "response",
        "stream": True,
    }
    reader = call.reader()
    failed = answer(1, scalar=1.0, score=None, success=False, error="it broke", code="internal")
    feed(
        reader,
        ("answer", failed),
        ("answer", answer(0, scalar=0.0, score=1.5)),
        ("done", {"success": False, "seed": 7, "failed": 1}),
    )
    first, second = reader.whole.answers
    assert (first.score, second.error, second.code) == (1.5, "it broke", "internal")
    assert isinstance(first, SweptAnswer)
    assert not reader.whole.success


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
    assert calls.traits().read(respond(200, {"traits": {"sarcasm": body}})) == {
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
    assert calls.trait("a/b c").path == "/api/v1/traits/a%2Fb%20c"
