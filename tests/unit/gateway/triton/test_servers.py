"""Servers come and go, each with somebody looking after it; errors say when to try again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from benchmarks.prometheus_text import Scrape
from gateway.ensemble_request import ensemble_request
from gateway.errors import (
    GatewayError,
    LateStartError,
    ModelDeadError,
    OverloadedError,
    UnprocessableError,
    UnreachableError,
)
from gateway.generation.client_deadline import within
from gateway.generation.dispatcher import Dispatcher
from gateway.generation.generation import Deadlines
from gateway.generation.queue_times import QueueTimes
from gateway.observability.metrics import GatewayMetrics
from gateway.request_record import GenerationRecord, RequestRecord
from gateway.triton.server import Attempt, TritonServer
from gateway.triton.servers import TritonServers
from gateway.triton_addresses import TritonAddresses
from triton_models.contract.request import GenerationDefaults

DEADLINES = Deadlines(first=60, between=20, total=300)


class Names:
    """A name whose addresses a test changes."""

    is_dynamic = True
    fixed = ()

    def __init__(self, *addresses: str) -> None:
        self.addresses: tuple[str, ...] | OSError = addresses
        self.looks = 0

    async def look_up(self) -> tuple[str, ...]:
        self.looks += 1
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return self.addresses

    async def looked_up_twice(self) -> None:
        """Waits until what the first of two looks finds has been seen to."""
        enough = self.looks + 2
        while self.looks < enough:
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.triton.servers._LOOK_UP_SECONDS", 0.01)


async def test_a_name_s_addresses_are_followed_and_each_is_looked_after() -> None:
    watched: list[str] = []
    left: list[str] = []

    async def watch(server: TritonServer, noted: Callable[[], None]) -> None:
        watched.append(server.address)
        server.at_work = True
        noted()
        try:
            await asyncio.Event().wait()
        finally:
            left.append(server.address)

    metrics = GatewayMetrics()
    names = Names("10.0.0.1:1", "10.0.0.2:1")
    servers = TritonServers(cast(TritonAddresses, names), metrics, watch)
    await servers.open()
    names.addresses = ("10.0.0.2:1", "10.0.0.3:1")
    await names.looked_up_twice()
    assert watched == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]
    assert left == ["10.0.0.1:1"]
    names.addresses = OSError("no name server")
    await names.looked_up_twice()
    assert {each.address for each in servers.all} == {"10.0.0.2:1", "10.0.0.3:1"}
    shown = Scrape(metrics.exposition().decode())
    assert shown.get("persona_gateway_endpoints", state="ready") == 2
    await servers.close()
    assert len(left) == 3


async def opened(*addresses: str) -> TritonServers:
    servers = TritonServers(TritonAddresses(",".join(addresses)), GatewayMetrics(), None)
    await servers.open()
    return servers


async def test_a_server_that_has_failed_a_request_is_avoided_until_it_is_found_well() -> None:
    servers = await opened("a:1", "b:1")
    first, second = servers.all
    first.failed(ModelDeadError("steered_qwen"))
    assert first.suspicion.is_set()
    assert {servers.choose() for _ in range(50)} == {second}
    second.refuse(UnreachableError("gone"))
    assert servers.choose() is first
    first.accept()
    second.accept()
    assert {servers.choose() for _ in range(50)} == {first, second}
    await servers.close()


async def test_a_server_is_not_avoided_for_refusing_a_request() -> None:
    servers = await opened("a:1")
    (only,) = servers.all
    only.failed(OverloadedError("full"))
    assert not only.suspicion.is_set()
    assert not only.doubtful
    await servers.close()


async def test_without_a_server_requests_fail_with_the_reason() -> None:
    servers = await opened("a:1")
    servers.all[0].refuse(ModelDeadError("steered_qwen"))
    assert servers.choose() is None
    assert isinstance(servers.outage(), ModelDeadError)
    await servers.close()
    nobody = TritonServers(cast(TritonAddresses, Names()), GatewayMetrics(), None)
    await nobody.open()
    assert isinstance(nobody.outage(), UnreachableError)
    await nobody.close()


async def test_giving_a_server_up_ends_what_is_open_there() -> None:
    servers = await opened("a:1")
    (only,) = servers.all
    attempt = only.send("an-id", None, 5)
    assert only.open_requests == 1
    only.give_up(ModelDeadError("steered_qwen"))
    assert isinstance(attempt.interruption, ModelDeadError)
    only.closed(attempt)
    assert only.open_requests == 0
    await servers.close()


def client(servers: TritonServers, **changes: Any) -> Dispatcher:
    async def admit(_: Any, asked: Any) -> Any:
        return asked

    settings: dict[str, Any] = {"max_open": 2, "observers": (), "admit": admit}
    return Dispatcher(servers, DEADLINES, metrics=GatewayMetrics(), **{**settings, **changes})


async def test_questions_go_to_another_server_too() -> None:
    servers = await opened("a:1", "b:1")
    asked: list[TritonServer] = []

    async def question(server: TritonServer) -> str:
        asked.append(server)
        if len(asked) == 1:
            raise UnreachableError("gone")
        return "answer"

    assert await client(servers).ask_one(question) == "answer"
    assert len(set(asked)) == 2
    await servers.close()


async def test_more_generations_than_may_be_open_are_refused() -> None:
    servers = await opened("127.0.0.1:9")
    triton = client(servers)
    generations = [
        await triton.generate(ensemble_request({"text_input": ["hi"]}, None, GenerationDefaults()))
        for _ in range(3)
    ]
    async with generations[0], generations[1]:
        with pytest.raises(OverloadedError, match="MAX_OPEN_REQUESTS") as caught:
            await generations[2].__aenter__()
        assert int(caught.value.headers["Retry-After"]) > 0
    await triton.settle()
    await servers.close()


def stop_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)


def asking(timeout: str | None, age: float = 0.0) -> RequestRecord:
    headers = [] if timeout is None else [(b"x-request-timeout", timeout.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    return RequestRecord("an-id", scope, started=time.monotonic() - age)


def test_a_client_s_patience_bounds_all_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_time(monkeypatch)
    limits = within(DEADLINES, asking("30", age=10))
    assert limits.total == limits.first == pytest.approx(20)
    assert limits.between == pytest.approx(20)
    assert within(DEADLINES, asking("10000")) == DEADLINES
    assert within(DEADLINES, asking(None)) is within(DEADLINES, None) is DEADLINES


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan", "inf"])
def test_patience_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UnprocessableError, match="X-Request-Timeout"):
        within(DEADLINES, asking(text))


def test_a_request_whose_time_is_over_is_not_sent() -> None:
    with pytest.raises(LateStartError):
        within(DEADLINES, asking("1", age=2))


def ended(queue: float | None = None, error: GatewayError | None = None) -> GenerationRecord:
    phases = {} if queue is None else {"queue": queue}
    record = GenerationRecord("an-id", phases=phases, error=error)
    record.started = time.monotonic() - 9
    return record


def test_errors_about_load_say_how_long_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_time(monkeypatch)
    waits = QueueTimes()
    error = OverloadedError("full")
    waits.advise(error)
    assert error.retry_after == 1
    for queue in (2.0, 3.2, 40.0):
        waits.generation_ended(ended(queue))
    waits.advise(error)
    assert error.retry_after == 4
    for _ in range(4):
        waits.generation_ended(ended(error=LateStartError("late")))
    waits.advise(error)
    assert error.retry_after == 9
    dead = ModelDeadError("steered_qwen")
    waits.advise(dead)
    assert dead.retry_after == ModelDeadError.retry_after


def test_an_attempt_has_no_reason_to_end_until_it_is_given_one() -> None:
    class Stream:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    stream = Stream()
    attempt = Attempt("an-id", cast(Any, stream), cast(Any, None))
    assert attempt.interruption is None
    attempt.interrupt(UnreachableError("gone"))
    assert stream.cancelled
