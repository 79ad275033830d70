"""Several answers to one call: refused together, failing apart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.api.comparison import ComparedGeneration, Comparison
from gateway.api.comparison_bodies import OneAnswer, Origin
from gateway.errors import GatewayError, InvalidRequestError, OverloadedError, UnavailableError
from tests.unit.gateway.scripted_generation import HELLO, LO, ScriptedEngine, all_wait, make
from triton_models.grpc_messages import TritonChunk

ORIGIN = Origin(seed=7, model="m", weights_sha256="w", vectors={"sarcasm": "s"})
READOUT = {"sarcasm": {"1": 2.0, "2": 4.0}}


def branches(
    *scripts: tuple[TritonChunk | GatewayError, ...],
) -> tuple[list[ComparedGeneration[OneAnswer]], list[ScriptedEngine]]:
    made = [make(*script) for script in scripts]
    numbered = enumerate(generation for generation, _ in made)
    return (
        [
            ComparedGeneration(index, f"steerings.{index}", each, OneAnswer)
            for index, each in numbered
        ],
        [engine for _, engine in made],
    )


def event(data: bytes) -> tuple[str, dict[str, Any]]:
    name, body = data.decode().strip().split("\n")
    return name.removeprefix("event: "), json.loads(body.removeprefix("data: "))


async def test_answers_come_whole_and_in_order() -> None:
    asked, _ = branches((HELLO, LO), (LO,))
    log: dict[str, Any] = {}
    first, second = await Comparison(asked, ORIGIN, log).complete()
    assert first.model_dump() == {
        "index": 0,
        "success": True,
        "response": "Hello",
        "tokens_generated": 2,
        "finish_reason": "stop",
        "prompt_tokens": 4,
        "reused_tokens": 3,
        "warnings": [],
        "error": None,
    }
    assert (second.index, second.response) == (1, "lo")
    assert log == {"answers": 2, "finish_reason": "done", "tokens": 4}


async def test_events_say_which_answer_they_are_about() -> None:
    asked, _ = branches((HELLO, LO), (LO,))
    whole = await Comparison(branches((HELLO, LO), (LO,))[0], ORIGIN, {}).complete()
    events = [event(each) async for each in Comparison(asked, ORIGIN, {}).events()]
    texts = {0: "", 1: ""}
    answers = {}
    for name, data in events[:-1]:
        if name == "chunk":
            texts[data["index"]] += data["text"]
        else:
            assert name == "answer"
            answers[data["index"]] = data
    assert texts == {0: "Hello", 1: "lo"}
    assert answers == {answer.index: answer.model_dump() for answer in whole}
    assert events[-1] == ("done", {"success": True, **ORIGIN.model_dump(), "failed": 0})


async def run(comparison: Comparison[OneAnswer], streamed: bool) -> None:
    if streamed:
        _ = [each async for each in comparison.events()]
    else:
        await comparison.complete()


async def test_one_that_is_refused_refuses_the_call_and_stops_the_others() -> None:
    for streamed in (False, True):
        asked, (engine, _) = branches((), (InvalidRequestError("no layers [99]"),))
        with pytest.raises(InvalidRequestError, match=r"^steerings\.1: no layers"):
            await run(Comparison(asked, ORIGIN, {}), streamed)
        await engine.sender.settle()
        assert engine.stops == ["an-id"]


async def test_a_refusal_that_the_first_piece_overtakes_refuses_the_call_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.api.comparison.REFUSAL_PATIENCE_SECONDS", 3600)
    asked, (_, engine) = branches((HELLO,), ())
    reading = asyncio.ensure_future(run(Comparison(asked, ORIGIN, {}), streamed=True))
    await all_wait()
    engine.stream.responses.put_nowait(InvalidRequestError("no layers [99]"))
    with pytest.raises(InvalidRequestError, match=r"^steerings\.1: no layers"):
        await reading


async def test_the_first_piece_does_not_wait_long_for_an_answer_without_room() -> None:
    asked, _ = branches((HELLO,), ())
    events = Comparison(asked, ORIGIN, {}).events()
    assert event(await asyncio.wait_for(anext(events), 60))[1]["index"] == 0
    await events.aclose()


async def test_one_that_fails_is_reported_in_its_place_and_the_others_stay() -> None:
    failing = (HELLO, UnavailableError("it broke"))
    log: dict[str, Any] = {}
    answers = await Comparison(branches(failing, (LO,))[0], ORIGIN, log).complete()
    assert [answer.success for answer in answers] == [False, True]
    assert (answers[0].error, answers[0].code) == ("it broke", "unavailable")
    assert answers[0].finish_reason == "error"
    assert (log["failed"], log["code"], log["finish_reason"]) == (1, "unavailable", "done")
    events = [event(e) async for e in Comparison(branches(failing, (LO,))[0], ORIGIN, {}).events()]
    ended = {data["index"]: data["success"] for name, data in events if name == "answer"}
    assert ended == {0: False, 1: True}
    assert events[-1] == ("done", {"success": False, **ORIGIN.model_dump(), "failed": 1})


@pytest.mark.parametrize("streamed", [False, True])
async def test_if_all_fail_so_does_the_call(streamed: bool) -> None:
    full = (OverloadedError("full"),)
    with pytest.raises(OverloadedError, match=r"^full"):
        await run(Comparison(branches(full, full)[0], ORIGIN, {}), streamed)


class RefusingSender:
    """Has no room for a generation."""

    def enter(self, generation: Any) -> None:
        raise OverloadedError("too many")

    def leave(self, generation: Any) -> None:
        pass

    def advise(self, error: GatewayError) -> None:
        pass


async def test_one_that_is_not_even_begun_fails_like_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, _ = branches((LO,), (LO,))
    monkeypatch.setattr(asked[0].generation, "_sender", RefusingSender())
    log: dict[str, Any] = {}
    first, second = await Comparison(asked, ORIGIN, log).complete()
    assert (first.error, second.success) == ("too many", True)
    assert (log["failed"], log["reason"]) == (1, "too many")


async def test_an_early_failure_is_told_once_another_one_answers() -> None:
    asked, (_, engine) = branches((OverloadedError("full"),), ())
    events = Comparison(asked, ORIGIN, {}).events()
    first = asyncio.ensure_future(anext(events))
    await all_wait()
    assert not first.done()
    engine.stream.responses.put_nowait(LO)
    assert event(await first)[1]["error"] == "full"
    await events.aclose()


async def test_leaving_the_events_stops_all() -> None:
    asked, engines = branches((HELLO,), (HELLO,), ())
    log: dict[str, Any] = {}
    events = Comparison(asked, ORIGIN, log).events()
    await anext(events)
    await events.aclose()
    for engine in engines:
        await engine.sender.settle()
        assert engine.stops == ["an-id"]
    assert log["finish_reason"] == "abandoned"
