"""A request that no server has begun to answer is sent to another one; a begun one never is."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import (
    DeadlineError,
    GatewayError,
    InvalidRequestError,
    LateStartError,
    ModelDeadError,
    ModelNotLoadedError,
    OverloadedError,
    UnavailableError,
    UnreachableError,
)
from gateway.generation.generation import MAX_ATTEMPTS, Deadlines
from tests.unit.gateway.scripted_generation import (
    HELLO,
    LO,
    LoopClock,
    ScriptedEngine,
    ScriptedStream,
    all_wait,
    make_of,
    read_all,
)
from triton_models.grpc_messages import TritonChunk


def engines(*scripts: list[TritonChunk | GatewayError]) -> list[ScriptedEngine]:
    return [ScriptedEngine(ScriptedStream(*script)) for script in scripts]


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("connection reset"),
        ModelDeadError("steered_qwen"),
        ModelNotLoadedError("not loaded"),
        OverloadedError("full"),
    ],
)
async def test_what_another_server_can_do_better_is_sent_to_it(error: GatewayError) -> None:
    first, second = engines([error], [HELLO, LO])
    generation, sender = make_of(first, second)
    chunks = await read_all(generation)
    assert "".join(chunk.text for chunk in chunks) == "Hello"
    assert sender.retries == first.failures == [error]
    await sender.settle()
    assert first.stream.cancelled
    assert (first.open, second.open, sender.open) == (set(), set(), set())


@pytest.mark.parametrize("code", ["unavailable", "resource_exhausted"])
async def test_a_refusal_inside_the_first_response_is_sent_elsewhere_too(code: str) -> None:
    refusal = TritonChunk(finish_reason="error", error="full", error_code=code, final=True)
    generation, sender = make_of(*engines([refusal], [HELLO, LO]))
    assert "".join(chunk.text for chunk in await read_all(generation)) == "Hello"
    assert len(sender.retries) == 1


async def test_an_answer_that_has_begun_fails_with_what_went_wrong() -> None:
    first, second = engines([HELLO, UnreachableError("reset")], [HELLO, LO])
    generation, sender = make_of(first, second)
    with pytest.raises(UnreachableError):
        await read_all(generation)
    assert sender.retries == []
    assert first.failures, "the watch must hear of it all the same"


async def test_a_model_that_dies_before_the_first_token_gives_its_requests_away() -> None:
    first, second = engines([], [HELLO, LO])
    generation, sender = make_of(first, second)
    reader = asyncio.create_task(read_all(generation))
    await all_wait()
    first.die()
    assert "".join(chunk.text for chunk in await reader) == "Hello"
    assert isinstance(sender.retries[0], ModelDeadError)


@pytest.mark.parametrize("error", [InvalidRequestError("bad"), GatewayError("defect")])
async def test_what_would_fail_anywhere_is_not_sent_again(error: GatewayError) -> None:
    generation, sender = make_of(*engines([error], [HELLO, LO]))
    with pytest.raises(type(error)):
        await read_all(generation)
    assert sender.retries == []


async def test_without_another_server_the_first_error_counts() -> None:
    generation, sender = make_of(*engines([ModelDeadError("steered_qwen")]))
    with pytest.raises(ModelDeadError):
        await read_all(generation)
    assert sender.retries == []


async def test_no_request_is_tried_on_every_server_there_is() -> None:
    scripts: list[list[TritonChunk | GatewayError]] = [[UnavailableError("no")] for _ in range(9)]
    generation, sender = make_of(*engines(*scripts))
    with pytest.raises(UnavailableError):
        await read_all(generation)
    assert len(sender.retries) == MAX_ATTEMPTS - 1


async def test_a_request_whose_client_has_gone_is_not_sent_again() -> None:
    first, second = engines([], [HELLO, LO])
    generation, sender = make_of(first, second)
    async with generation:
        await all_wait()
    first.stream.responses.put_nowait(UnreachableError("reset"))
    await sender.settle()
    assert sender.retries == []
    assert second.stream.timeouts == []


async def test_a_retry_has_only_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = LoopClock(monkeypatch)
    first, second = engines([], [HELLO, LO])
    generation, _ = make_of(first, second, deadlines=Deadlines(first=1, between=20, total=300))
    reader = asyncio.create_task(read_all(generation))
    await all_wait()
    clock.now += 0.25
    first.die()
    await reader
    assert second.stream.timeouts[0] == pytest.approx(0.75)


async def test_after_the_deadline_nothing_is_sent_again() -> None:
    generation, sender = make_of(
        *engines([], [HELLO, LO]), deadlines=Deadlines(first=0.01, between=1, total=0.01)
    )
    async with generation:
        await asyncio.sleep(0.02)
        sender.engines[0].die()
        with pytest.raises(ModelDeadError):
            _ = [chunk async for chunk in generation]


async def test_an_answer_that_does_not_begin_in_time_is_503_and_stopped() -> None:
    engine, other = engines([DeadlineError("silent")], [HELLO, LO])
    generation, sender = make_of(engine, other, deadlines=Deadlines(2, 20, 300))
    with pytest.raises(LateStartError, match="did not begin within 2 s") as caught:
        await read_all(generation)
    assert caught.value.status == 503
    assert sender.advised == [caught.value]
    await sender.settle()
    assert engine.stops == ["an-id"]


async def test_a_whole_answer_that_takes_too_long_is_504() -> None:
    limits = Deadlines(0.01, 0.01, 0.01, streamed=False)
    late = DeadlineError("silent")
    generation, _ = make_of(*engines([late]), deadlines=limits)
    async with generation:
        await asyncio.sleep(0.02)
        with pytest.raises(DeadlineError) as caught:
            _ = [chunk async for chunk in generation]
    assert caught.value.status == 504
