"""Overload, impatient clients, refusals without end, and a gateway that is told to stop."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.stack import Stack
from tests.e2e.gateways import gateway, refuses
from tests.e2e.held_engine import BEGINNING, held_engine, num_open
from tests.e2e.leaving import request_bytes
from tests.e2e.triton_call import describe
from tests.e2e.waiting import PATIENCE_SECONDS, eventually

LONG: dict[str, Any] = {
    "prompt": "How do I bake bread?",
    "trait": "sarcasm",
    "scalar": 2.0,
    "max_tokens": 900,
    "min_tokens": 900,
}
GENERATE = "/api/v1/generate"
DISCONNECTS = 100
CLIENTS = 24


def engine(stack: Stack) -> dict[str, Any]:
    fields: dict[str, Any] = describe(stack.settings.grpc_address)["engine"]
    return fields


def is_idle(stack: Stack) -> bool:
    now = engine(stack)
    return bool(now["running"] == now["waiting"] == 0)


@contextmanager
def clients(port: int, count: int, body: dict[str, Any]) -> Iterator[None]:
    """Clients that have sent a request and wait; they go away at the end."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    try:
        for connection in connections:
            connection.sendall(request_bytes(GENERATE, body))
        yield
    finally:
        for connection in connections:
            connection.close()


def test_clients_that_go_away_at_random_leave_nothing_running(stack: Stack) -> None:
    """They go away in the middle of a request, before, while and after it is answered."""
    chance = random.Random(0)
    port = stack.settings.gateway_port
    before = engine(stack)["cancelled"]
    staying: list[socket.socket] = []
    with (
        held_engine(stack.triton) as held,
        ExitStack() as connections,
        clients(port, 1, LONG),  # so that there is always something to compute
    ):
        for _ in range(DISCONNECTS):
            tokens = chance.choice([3, 900])
            body = {**LONG, "max_tokens": tokens, "min_tokens": tokens}
            data = request_bytes(GENERATE, {**body, "stream": chance.random() < 0.5})
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(data[: len(data) // chance.choice([1, 1, 1, 1, 2])])
            staying.append(connection)
            if len(staying) == CLIENTS or chance.random() < 0.3:
                staying.pop(chance.randrange(len(staying))).close()
            held.steps(chance.randrange(3))
    assert eventually(lambda: is_idle(stack)), engine(stack)
    assert engine(stack)["cancelled"] > before


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_cannot_be_answered_in_its_time_is_refused_and_stopped(
    stack: Stack, stream: bool
) -> None:
    before = engine(stack)["cancelled"]
    with held_engine(stack.triton) as held, clients(stack.settings.gateway_port, 1, LONG):
        assert eventually(lambda: engine(stack)["running"] == 1), engine(stack)
        refused = httpx.post(
            f"{stack.settings.gateway_url}{GENERATE}",
            json={**LONG, "stream": stream},
            headers={"X-Request-Timeout": "0.3"},
            timeout=60,
        )
        assert refused.status_code == (503 if stream else 504)
        assert refused.json()["code"] == "deadline_exceeded"
        assert "0.3 s" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) > 0
        assert held.goes_on_until(lambda: engine(stack)["cancelled"] == before + 1), engine(stack)
        assert engine(stack)["running"] == 1
    assert eventually(lambda: is_idle(stack))


def test_a_timeout_that_is_none_is_refused(stack: Stack) -> None:
    for value in ("soon", "0", "-1", "nan", "inf"):
        answer = httpx.post(
            f"{stack.settings.gateway_url}{GENERATE}",
            json=LONG,
            headers={"X-Request-Timeout": value},
        )
        assert answer.status_code == 422
        assert "X-Request-Timeout" in answer.json()["error"]


def test_a_gateway_with_as_many_requests_as_it_takes_refuses_more(
    stack: Stack, tmp_path: Path
) -> None:
    settings = {"TRITON_URL": stack.settings.grpc_address, "MAX_OPEN_REQUESTS": "2"}
    with gateway(tmp_path, dict(os.environ), **settings) as small:
        port = int(small.url.rpartition(":")[2])
        with held_engine(stack.triton), clients(port, 2, LONG):
            assert eventually(lambda: num_open(stack.settings.grpc_address) == 2)
            refused = httpx.post(f"{small.url}{GENERATE}", json=LONG)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
    assert eventually(lambda: is_idle(stack))


@pytest.mark.parametrize(("patience", "ending"), [(300, "done"), (1, "error")])
def test_a_gateway_that_is_told_to_stop_lets_open_answers_go_on_for_a_while(
    stack: Stack, tmp_path: Path, patience: int, ending: str
) -> None:
    settings = {"TRITON_URL": stack.settings.grpc_address, "SHUTDOWN_TIMEOUT": str(patience)}
    body = {**LONG, "max_tokens": 300, "min_tokens": 300, "stream": True}
    texts = [""] * 4

    def read(client: int) -> None:
        url = f"{stopping.url}{GENERATE}"
        with httpx.stream("POST", url, json=body, timeout=PATIENCE_SECONDS) as response:
            for piece in response.iter_text():
                texts[client] += piece

    with gateway(tmp_path, dict(os.environ), **settings) as stopping:
        with ThreadPoolExecutor(len(texts)) as pool:
            with held_engine(stack.triton) as held:
                answers = [pool.submit(read, client) for client in range(len(texts))]
                assert eventually(lambda: num_open(stack.settings.grpc_address) == len(texts))
                held.steps(BEGINNING)
                assert eventually(lambda: all(texts))
                os.kill(stopping.process.pid, signal.SIGTERM)
                assert eventually(lambda: refuses(stopping.url))
                if ending == "error":
                    assert eventually(lambda: all(answer.done() for answer in answers))
                else:
                    assert not any(answer.done() for answer in answers)
            for answer in answers:
                answer.result()
        assert eventually(lambda: not stopping.process.running)
    for text in texts:
        *_, last = text.strip().split("\n\n")
        assert last.startswith(f"event: {ending}\n")
        assert ending == "done" or "shutting down" in last
    assert eventually(lambda: is_idle(stack)), engine(stack)


def test_refusals_without_end_leave_the_server_as_it_is(api: httpx.Client, stack: Stack) -> None:
    """Of some hundreds that gRPC reported as statuses (`triton_grpc_error`) Triton 2.51 died."""
    too_long = {**LONG, "prompt": "word " * 30_000, "max_tokens": 5, "min_tokens": 5}

    def status(number: int) -> int:
        return api.post(GENERATE, json=too_long).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(status, range(2000))) == {400}
    assert stack.triton
    assert stack.triton.running
    assert api.post(GENERATE, json={**too_long, "prompt": "hi"}).is_success
