"""What a look at a server finds, and where requests go then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from gateway import errors
from gateway.triton.health import HealthWatch, check_readiness, finding_of
from gateway.triton.server import TritonServer
from gateway.triton.shared_findings import Finding, ServerHealth, SharedFindings
from triton_models.contract.tensors import PERSONA, STEERED_QWEN, TOKENIZER

INTERVAL = 0.001


class Server:
    """A server that answers as it is told to, and notes what is made of it."""

    address = "here"

    def __init__(self) -> None:
        self.suspicion = asyncio.Event()
        self.at_work = False
        self.fails: dict[str, errors.GatewayError] = {}
        self.loaded = True
        self.alive = True
        self.chunks = 0
        self.asked: list[str] = []
        self.refusal: errors.GatewayError | None = None
        self.given_up: errors.GatewayError | None = None

    @property
    def refuses(self) -> bool:
        return self.refusal is not None

    def _answer(self, part: str) -> None:
        self.asked.append(part)
        if part in self.fails:
            raise self.fails[part]

    async def describe(self, timeout: float) -> Any:
        self._answer(STEERED_QWEN)
        return {"engine": {"alive": self.alive}}

    async def ask(self, model: str, request_id: str, values: Any, timeout: float) -> Any:
        self._answer(model)

    async def is_loaded(self, model: str, timeout: float) -> bool:
        self._answer(model)
        return self.loaded

    async def count_chunks(self, timeout: float) -> int:
        self._answer("chunks")
        return self.chunks

    def refuse(self, error: errors.GatewayError) -> None:
        self.refusal = error

    def give_up(self, error: errors.GatewayError) -> None:
        self.refusal = self.given_up = error

    def accept(self) -> None:
        self.refusal = None


async def looked_until(
    server: Server,
    reached: Callable[[], bool],
) -> None:
    """Watches a server until something is so."""
    watch = HealthWatch(cast(TritonServer, server), INTERVAL, SharedFindings(None), lambda: None)
    task = asyncio.create_task(watch.run())
    try:
        for _ in range(20_000):
            if reached():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it does not come to that")
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_server_whose_parts_all_answer_gets_work_and_generates_nothing_for_it() -> None:
    server = Server()
    await looked_until(server, lambda: server.at_work)
    assert not server.refuses
    assert set(server.asked) == {STEERED_QWEN, "tokenizer", "detokenizer", PERSONA}


@pytest.mark.parametrize("part", [STEERED_QWEN, TOKENIZER])
async def test_what_a_dead_model_had_is_given_up(part: str) -> None:
    server = Server()
    server.fails[part] = errors.ModelDeadError(part)
    await looked_until(server, lambda: server.given_up is not None)
    assert isinstance(server.given_up, errors.ModelDeadError)
    assert server.given_up.model == part
    server.fails.clear()
    await looked_until(server, lambda: server.at_work)
    assert not server.refuses


async def test_what_a_model_had_that_is_being_loaded_again_is_given_up() -> None:
    server = Server()
    server.fails[STEERED_QWEN] = errors.ModelNotLoadedError("")
    await looked_until(server, lambda: server.given_up is not None)


async def test_a_draining_server_finishes_what_it_has() -> None:
    server = Server()
    await looked_until(server, lambda: server.at_work)
    server.loaded = False
    await looked_until(server, lambda: server.refuses)
    assert server.given_up is None
    assert isinstance(server.refusal, errors.ModelNotLoadedError)


async def test_a_server_that_is_away_is_refused_and_found_again() -> None:
    server = Server()
    server.fails[STEERED_QWEN] = errors.UnreachableError("")
    await looked_until(server, lambda: server.refuses)
    assert server.given_up is None
    server.fails.clear()
    await looked_until(server, lambda: server.at_work)


async def test_silence_is_load_while_clients_get_answers_and_trouble_when_nobody_does() -> None:
    server = Server()
    server.fails[TOKENIZER] = errors.DeadlineError("")
    counts = iter(range(100))

    async def growing(timeout: float) -> int:
        server.asked.append("chunks")
        return next(counts, 100)

    server.count_chunks = growing  # type: ignore[method-assign]
    await looked_until(server, lambda: server.asked.count("chunks") >= 20)
    assert server.at_work
    assert not server.refuses
    await looked_until(server, lambda: server.refuses)
    assert not server.at_work
    assert isinstance(server.refusal, errors.UnavailableError)


async def test_an_engine_that_has_ended_gets_no_work() -> None:
    server = Server()
    server.alive = False
    await looked_until(server, lambda: server.refuses)


async def test_a_request_that_fails_brings_the_next_look_forward() -> None:
    server = Server()
    watch = HealthWatch(cast(TritonServer, server), 3600, SharedFindings(None), lambda: None)
    task = asyncio.create_task(watch.run())
    while not server.at_work:
        await asyncio.sleep(0.001)
    server.fails[STEERED_QWEN] = errors.ModelDeadError(STEERED_QWEN)
    server.suspicion.set()
    while server.given_up is None:
        await asyncio.sleep(0.001)
    task.cancel()


async def test_a_dead_model_is_found_while_requests_fail_faster_than_parts_answer() -> None:
    server = Server()
    server.fails[TOKENIZER] = errors.ModelDeadError(TOKENIZER)
    describe = server.describe

    async def describe_late(timeout: float) -> Any:
        server.suspicion.set()
        # Whoever waits for that goes on first.
        for _ in range(10):
            await asyncio.sleep(0)
        return await describe(timeout)

    server.describe = describe_late  # type: ignore[method-assign]
    await looked_until(server, lambda: server.given_up is not None)


@pytest.mark.parametrize(
    ("error", "asked", "condition"),
    [
        (errors.ModelDeadError(TOKENIZER), PERSONA, ServerHealth.DEAD),
        (errors.ModelNotLoadedError(""), PERSONA, ServerHealth.DRAINING),
        (errors.ModelNotLoadedError(""), STEERED_QWEN, ServerHealth.NOT_LOADED),
        (errors.UnreachableError(""), PERSONA, ServerHealth.UNREACHABLE),
        (errors.OverloadedError(""), PERSONA, ServerHealth.BUSY),
        (errors.InvalidRequestError(""), TOKENIZER, ServerHealth.WELL),
        (errors.DeadlineError(""), TOKENIZER, ServerHealth.SILENT),
        (errors.UnavailableError("the engine has ended"), STEERED_QWEN, ServerHealth.SILENT),
        (errors.AccessRefusedError(), STEERED_QWEN, ServerHealth.SILENT),
    ],
)
def test_errors_are_told_apart(
    error: errors.GatewayError, asked: str, condition: ServerHealth
) -> None:
    assert finding_of(error, asked).condition is condition


async def test_readiness_shows_the_part_s_own_error() -> None:
    server = Server()
    server.fails[TOKENIZER] = errors.ModelDeadError(TOKENIZER)
    with pytest.raises(errors.ModelDeadError):
        await check_readiness(cast(TritonServer, server))
    server.fails.clear()
    server.loaded = False
    with pytest.raises(errors.ModelNotLoadedError):
        await check_readiness(cast(TritonServer, server))


async def test_one_worker_looks_for_all(tmp_path: Path) -> None:
    shared = SharedFindings(tmp_path)
    shared.publish("here", Finding(ServerHealth.DRAINING, "as another worker found", PERSONA))
    assert shared.latest("elsewhere", 3600) is None
    server = Server()
    watch = HealthWatch(cast(TritonServer, server), 3600, shared, lambda: None)
    task = asyncio.create_task(watch.run())
    while not server.refuses:
        await asyncio.sleep(0.001)
    assert server.asked == []
    # What somebody's request says is not waited for.
    server.suspicion.set()
    while not server.at_work:
        server.suspicion.set()
        await asyncio.sleep(0.001)
    assert server.asked
    task.cancel()
    assert shared.latest("here", 3600) == ("well", "", STEERED_QWEN)


def test_findings_that_are_old_or_broken_are_nobody_s(tmp_path: Path) -> None:
    shared = SharedFindings(tmp_path)
    shared.publish("here", Finding(ServerHealth.WELL))
    assert shared.latest("here", 0.0) is None
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    assert shared.latest("here", 3600) is None
    SharedFindings(None).publish("here", Finding(ServerHealth.WELL))
    assert SharedFindings(None).latest("here", 3600) is None
