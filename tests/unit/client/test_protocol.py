"""The client reads what the gateway writes, however the network cuts it into pieces."""

from __future__ import annotations

import pytest

from gateway.http.server_sent_events import format_event
from persona_client import calls, errors, protocol
from persona_client.readers import CompletionReader
from persona_client.results import Chunk, Completion, LikelyToken, TokenLogprob
from tests.unit.client.event_text import DONE, feed


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


def test_the_last_event_is_the_whole_answer() -> None:
    reader = CompletionReader()
    with pytest.raises(RuntimeError, match="not ended"):
        _ = reader.whole
    with pytest.raises(errors.ConnectionFailedError, match="no end event"):
        reader.check_ended()
    assert feed(reader, ("done", DONE)) == []
    reader.check_ended()
    assert reader.whole == Completion(
        response="Hello",
        trait="sarcasm",
        scalar=2.0,
        tokens_generated=2,
        finish_reason="stop",
        prompt_tokens=4,
    )


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
    call = calls.generation("hi", None, 0.0, {}).stream
    assert (call.path, call.body) == (
        "/api/v1/generate/baseline",
        {"prompt": "hi", "stream": True},
    )
