"""A generation is read to its end or stopped in the engine, whoever gives up and when."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import weakref
from typing import Any

import pytest

from gateway.api.rest_answer import RestAnswer
from gateway.errors import (
    DeadlineError,
    GatewayError,
    ModelDeadError,
    UnavailableError,
    UnknownTraitError,
)
from gateway.http.server_sent_events import ending_in_words
from tests.unit.gateway.scripted_generation import (
    HELLO,
    LO,
    LoopClock,
    ScriptedEngine,
    ScriptedStream,
    all_wait,
    make,
    make_of,
    read_all,
)
from triton_models.grpc_messages import TritonChunk


async def test_pieces_come_in_order_and_nothing_is_stopped_after_the_last() -> None:
    generation, engine = make(HELLO, LO)
    assert "".join(chunk.text for chunk in await read_all(generation)) == "Hello"
    assert engine.stops == []


async def test_the_end_reaches_a_reader_that_was_busy_when_it_came() -> None:
    generation, engine = make(HELLO)
    async with generation:
        pieces = aiter(generation)
        assert (await anext(pieces)).text == "Hel"
        engine.stream.responses.put_nowait(LO)
        # Until the stream has been read to its end.
        assert generation._reader is not None
        await generation._reader
        assert [piece.text async for piece in pieces] == ["lo"]


async def test_the_place_of_an_answer_is_free_when_it_has_ended_read_or_not() -> None:
    generation, engine = make(HELLO)
    async with generation:
        await all_wait()
        assert engine.sender.open == {generation}
        assert len(engine.open) == 1
        engine.stream.responses.put_nowait(LO)
        await all_wait()
        assert engine.sender.open == set()
        assert engine.open == set()
        assert [chunk.text async for chunk in generation] == ["Hello"]


async def test_a_message_is_let_go_when_it_cannot_be_sent_again() -> None:
    message = asyncio.Event()  # anything that can be referred to
    left = weakref.ref(message)
    engine = ScriptedEngine(ScriptedStream())
    generation, _ = make_of(engine, message=message)
    del message
    async with generation:
        await all_wait()
        assert left() is not None
        engine.stream.responses.put_nowait(HELLO)
        await all_wait()
        assert left() is None


async def test_pieces_that_pile_up_are_joined() -> None:
    generation, _ = make(HELLO, LO)
    async with generation:
        await all_wait()
        chunks = [chunk async for chunk in generation]
    assert chunks == [HELLO.followed_by(LO)]


async def test_the_first_piece_may_take_longer_than_later_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    LoopClock(monkeypatch)
    generation, engine = make(HELLO, LO)
    await read_all(generation)
    assert engine.stream.timeouts == [60, 20]


@pytest.mark.parametrize("misses", [0, 3])
async def test_leaving_early_stops_the_request_until_it_is_found(misses: int) -> None:
    generation, engine = make(HELLO, misses=misses)
    async with generation:
        async for _ in generation:
            break
    await engine.sender.settle()
    assert engine.stops == ["an-id"] * (misses + 1)
    assert engine.stream.ended


async def test_a_cancelled_reader_stops_the_request_too() -> None:
    generation, engine = make(HELLO)

    task = asyncio.create_task(read_all(generation))
    await all_wait()
    task.cancel()
    await asyncio.wait({task})
    await engine.sender.settle()
    assert engine.stops == ["an-id"]


async def test_a_request_that_ends_by_itself_is_not_asked_for_any_more() -> None:
    generation, engine = make(HELLO, misses=1000)
    async with generation:
        async for _ in generation:
            break
    await all_wait()
    engine.stream.responses.put_nowait(LO)
    await all_wait()
    assert engine.stream.ended
    asked = list(engine.stops)
    await engine.sender.settle()
    assert engine.stops == asked != []


async def test_a_request_past_its_deadline_is_stopped_and_reported() -> None:
    generation, engine = make(HELLO, DeadlineError("too long"))
    with pytest.raises(DeadlineError):
        await read_all(generation)
    await engine.sender.settle()
    assert engine.stops == ["an-id"]


async def test_a_dead_model_ends_the_generation_and_is_not_asked_to_stop_it() -> None:
    generation, engine = make(HELLO)
    reader = asyncio.create_task(read_all(generation))
    await all_wait()
    engine.die()
    with pytest.raises(ModelDeadError):
        await reader
    assert engine.stops == []
    assert engine.stream.cancelled


async def test_an_error_inside_an_answer_is_raised() -> None:
    generation, _ = make(
        TritonChunk(
            finish_reason="error", error="unknown trait", error_code="not_found", final=True
        )
    )
    with pytest.raises(UnknownTraitError, match="unknown trait"):
        await read_all(generation)


async def test_a_generation_that_somebody_else_stopped_is_an_error() -> None:
    generation, _ = make(HELLO, TritonChunk(finish_reason="cancelled", final=True))
    with pytest.raises(UnavailableError):
        await read_all(generation)


async def test_an_answer_without_an_end_is_an_error() -> None:
    generation, _ = make(TritonChunk(text="x", final=True))
    with pytest.raises(GatewayError, match="early"):
        await read_all(generation)


async def test_a_whole_answer_has_the_documented_fields() -> None:
    generation, _ = make(HELLO, LO)
    log: dict[str, Any] = {}
    answer = await RestAnswer("sarcasm", 2.0, log).complete(generation)
    assert answer.model_dump() == {
        "success": True,
        "response": "Hello",
        "trait": "sarcasm",
        "scalar": 2.0,
        "tokens_generated": 2,
        "error": None,
        "finish_reason": "stop",
        "prompt_tokens": 4,
        "reused_tokens": 3,
    }
    assert (log["triton_id"], log["tokens"], log["finish_reason"]) == ("an-id", 2, "stop")
    assert "Hello" not in str(log)


async def test_an_answer_s_events_are_chunks_and_then_done_with_the_whole() -> None:
    generation, _ = make(HELLO, LO)
    events = [event async for event in RestAnswer(None, 0.0, {}).events(generation)]
    assert b"".join(events).count(b"event: chunk") == len(events) - 1
    assert events[-1].startswith(b'event: done\ndata: {"success":true,"response":"Hello",')


def likely(token: str) -> dict[str, Any]:
    return {"token": token, "bytes": list(token.encode()), "logprob": -0.5, "top_logprobs": []}


async def test_logprobs_are_in_each_event_and_readouts_only_in_the_last() -> None:
    generation, engine = make(dataclasses.replace(HELLO, logprobs=(likely("Hel"),)))
    rest = [
        # A special token has no text.
        TritonChunk(num_output_tokens=2, logprobs=(likely("<|im_start|>"),)),
        dataclasses.replace(LO, logprobs=(likely("lo"),), readouts={"sarcasm": {"1": 0.5}}),
    ]
    events = []
    async for event in RestAnswer(None, 0.0, {}, logprobs=True).events(generation):
        events.append(json.loads(event.decode().split("data: ")[1]))
        if rest:
            engine.stream.responses.put_nowait(rest.pop(0))
    *chunks, done = events
    tokens = [[each["token"] for each in chunk["logprobs"]] for chunk in chunks]
    assert tokens == [["Hel"], ["<|im_start|>"], ["lo"]]
    assert done["logprobs"] == [each for chunk in chunks for each in chunk["logprobs"]]
    assert done["readouts"] == {"sarcasm": {"1": 0.5}}
    assert not any("readouts" in chunk for chunk in chunks)


async def test_an_answer_without_tokens_has_an_empty_list_of_logprobs() -> None:
    generation, _ = make(TritonChunk(finish_reason="stop", final=True))
    answer = await RestAnswer(None, 0.0, {}, logprobs=True).complete(generation)
    assert answer.model_dump()["logprobs"] == []


async def test_an_error_after_a_chunk_is_the_last_event() -> None:
    generation, engine = make(HELLO)
    log: dict[str, Any] = {}
    events = []
    answer = RestAnswer("sarcasm", 2.0, log)
    async for event in ending_in_words(answer.events(generation), answer.error_event):
        events.append(event)
        engine.die()
    assert len(events) == 2
    assert events[-1].startswith(b'event: error\ndata: {"success":false,"response":"Hel",')
    assert b'"code":"unavailable"' in events[-1]
    assert log["finish_reason"] == "error"


async def test_an_error_before_any_chunk_is_raised_instead() -> None:
    generation, _ = make(UnknownTraitError("unknown"))
    answer = RestAnswer("x", 1.0, {})
    events = ending_in_words(answer.events(generation), answer.error_event)
    with pytest.raises(UnknownTraitError):
        _ = [event async for event in events]
