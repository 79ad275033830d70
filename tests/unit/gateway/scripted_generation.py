"""Generations whose streams and servers do what a test tells them to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, cast

import pytest

from gateway.errors import DeadlineError, GatewayError, ModelDeadError, UnreachableError
from gateway.generation.generation import Deadlines, Generation
from gateway.triton.server import Attempt
from triton_models.grpc_messages import TritonChunk

HELLO = TritonChunk(text="Hel", num_output_tokens=1, num_input_tokens=4)
LO = TritonChunk(
    text="lo",
    num_output_tokens=2,
    num_input_tokens=4,
    num_reused_tokens=3,
    finish_reason="stop",
    final=True,
)


class ScriptedStream:
    """Says what a test tells it to, in the place of a `TritonStream`."""

    def __init__(self, *responses: TritonChunk | GatewayError) -> None:
        self.responses: asyncio.Queue[TritonChunk | GatewayError | None] = asyncio.Queue()
        for response in responses:
            self.responses.put_nowait(response)
        self.ended = False
        self.cancelled = False
        self.timeouts: list[float] = []

    async def open(self) -> None:
        pass

    async def read(self, timeout: float) -> TritonChunk | None:
        if self.ended:
            return None
        self.timeouts.append(timeout)
        response = await self.responses.get()
        if response is None:
            raise asyncio.CancelledError
        if isinstance(response, GatewayError):
            self.ended = not isinstance(response, DeadlineError)
            raise response
        self.ended = response.final
        return response

    async def end(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        self.cancelled = True
        self.responses.put_nowait(None)


class ScriptedEngine:
    """Finds a request to stop only after a few questions, like one still in the tokenizer."""

    def __init__(self, stream: ScriptedStream, misses: int = 0) -> None:
        self.stream = stream
        self.misses = misses
        self.stops: list[str] = []
        self.failures: list[GatewayError] = []
        self.open: set[Attempt] = set()
        self.sender: ScriptedSender

    async def stop(self, request_id: str) -> bool:
        self.stops.append(request_id)
        if len(self.stops) <= self.misses:
            return False
        self.stream.responses.put_nowait(TritonChunk(finish_reason="cancelled", final=True))
        return True

    def closed(self, attempt: Attempt) -> None:
        self.open.discard(attempt)

    def failed(self, error: GatewayError) -> None:
        self.failures.append(error)

    def die(self) -> None:
        """Does what the watch has a server do."""
        for attempt in tuple(self.open):
            attempt.interrupt(ModelDeadError("steered_qwen"))


class ScriptedSender:
    """Has the engines that a test gives it, and takes the first that has not been tried."""

    def __init__(self, *engines: ScriptedEngine) -> None:
        self.engines = engines
        self.background: list[asyncio.Task[None]] = []
        self.retries: list[GatewayError] = []
        self.advised: list[GatewayError] = []
        self.open: set[Generation] = set()

    def enter(self, generation: Generation) -> None:
        self.open.add(generation)

    def leave(self, generation: Generation) -> None:
        self.open.discard(generation)

    def send(
        self, request_id: str, request: Any, tried: Sequence[ScriptedEngine], timeout: float
    ) -> Attempt:
        for engine in self.engines:
            if engine not in tried:
                attempt = Attempt(request_id, cast(Any, engine.stream), cast(Any, engine))
                engine.open.add(attempt)
                return attempt
        raise UnreachableError("there is no other")

    def sent_again(self, request_id: str, error: GatewayError) -> None:
        self.retries.append(error)

    def advise(self, error: GatewayError) -> None:
        self.advised.append(error)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.background.append(asyncio.create_task(work))

    async def settle(self) -> None:
        await asyncio.gather(*self.background)


class Unwatched:
    def began(self) -> None:
        pass

    def received(self, chunk: TritonChunk) -> None:
        pass

    def ended(self, error: BaseException | None) -> None:
        pass


DEADLINES = Deadlines(first=60, between=20, total=300)


def make(
    *responses: TritonChunk | GatewayError, misses: int = 0
) -> tuple[Generation, ScriptedEngine]:
    engine = ScriptedEngine(ScriptedStream(*responses), misses)
    generation, engine.sender = make_of(engine)
    return generation, engine


def make_of(
    *engines: ScriptedEngine, deadlines: Deadlines = DEADLINES, message: Any = None
) -> tuple[Generation, ScriptedSender]:
    sender = ScriptedSender(*engines)
    generation = Generation("an-id", message, cast(Any, sender), deadlines, cast(Any, Unwatched()))
    return generation, sender


async def all_wait() -> None:
    """Lets every task go on until it waits for a test: time and the machine's speed do not count.

    Nothing here waits for anything else, so the loop's turns are enough.
    """
    for _ in range(50):
        await asyncio.sleep(0)


class LoopClock:
    """The running loop's time, which passes only when a test says so.

    Args:
        monkeypatch: Gives the loop its own time back.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now)


async def read_all(generation: Generation) -> list[TritonChunk]:
    async with generation:
        return [chunk async for chunk in generation]
