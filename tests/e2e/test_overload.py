"""Overload, impatient clients and a gateway that is told to stop."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.stack import Stack
from tests.e2e.gateways import gateway
from tests.e2e.triton_call import describe
from tests.e2e.waiting import eventually

LONG: dict[str, Any] = {
    "prompt": "How do I bake bread?",
    "trait": "sarcasm",
    "scalar": 2.0,
    "max_tokens": 900,
    "min_tokens": 900,
}
DISCONNECTS = 100
ROWS = 32


def engine(stack: Stack) -> dict[str, Any]:
    fields: dict[str, Any] = describe(stack.settings.grpc_address)["engine"]
    return fields


def is_idle(stack: Stack) -> bool:
    now = engine(stack)
    return bool(now["running"] == now["waiting"] == 0)


def request_bytes(body: dict[str, Any]) -> bytes:
    payload = json.dumps(body).encode()
    head = (
        "POST /api/v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


@contextmanager
def clients(port: int, count: int, body: dict[str, Any]) -> Iterator[None]:
    """Clients that have sent a request and wait; they go away at the end."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    try:
        for connection in connections:
            connection.sendall(request_bytes(body))
        yield
    finally:
        for connection in connections:
            connection.close()


def disconnect_at_random(port: int, count: int, seed: int = 0) -> None:
    """Sends requests whose clients all go away: before, while and after they are answered."""
    chance = random.Random(seed)
    plans = [
        ({**LONG, "stream": chance.random() < 0.5}, chance.random() ** 2 * 1.5)
        for _ in range(count)
    ]

    def leave(plan: tuple[dict[str, Any], float]) -> None:
        body, seconds = plan
        with socket.create_connection(("127.0.0.1", port)) as connection:
            data = request_bytes(body)
            # Some go away in the middle of the request.
            connection.sendall(data if seconds > 0.01 else data[: len(data) // 2])
            time.sleep(seconds)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(leave, plans))


def test_clients_that_go_away_at_random_leave_nothing_running(stack: Stack) -> None:
    disconnect_at_random(stack.settings.gateway_port, DISCONNECTS)
    assert eventually(lambda: is_idle(stack), 10), engine(stack)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_cannot_be_answered_in_its_time_is_refused_and_stopped(
    stack: Stack, stream: bool
) -> None:
    # Long enough to run on meanwhile, and short enough for all to find room wherever others were.
    running = {**LONG, "max_tokens": 600, "min_tokens": 600}
    with clients(stack.settings.gateway_port, ROWS, running):
        assert eventually(lambda: engine(stack)["running"] == ROWS, 20), engine(stack)
        refused = httpx.post(
            f"{stack.settings.gateway_url}/api/v1/generate",
            json={**LONG, "stream": stream},
            headers={"X-Request-Timeout": "0.3"},
            timeout=30,
        )
        assert refused.status_code == (503 if stream else 504)
        assert refused.json()["code"] == "deadline_exceeded"
        assert "0.3 s" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) > 0
        assert eventually(lambda: engine(stack)["waiting"] == 0), engine(stack)
    assert eventually(lambda: is_idle(stack), 10)


def test_a_timeout_that_is_none_is_refused(stack: Stack) -> None:
    for value in ("soon", "0", "-1", "nan", "inf"):
        answer = httpx.post(
            f"{stack.settings.gateway_url}/api/v1/generate",
            json=LONG,
            headers={"X-Request-Timeout": value},
        )
        assert answer.status_code == 422
        assert "X-Request-Timeout" in answer.json()["error"]


def test_a_gateway_with_as_many_requests_as_it_takes_refuses_more(
    stack: Stack, tmp_path: Path
) -> None:
    settings = {"TRITON_URL": stack.settings.grpc_address, "MAX_OPEN_REQUESTS": "2"}
    with gateway(tmp_path, dict(os.environ), WATCHDOG="false", **settings) as small:
        port = int(small.url.rpartition(":")[2])
        with clients(port, 2, LONG):
            assert eventually(lambda: engine(stack)["running"] == 2)
            refused = httpx.post(f"{small.url}/api/v1/generate", json=LONG)
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) > 0
    assert eventually(lambda: is_idle(stack), 10)


@pytest.mark.parametrize(("tokens", "patience", "ending"), [(300, 30, "done"), (900, 1, "error")])
def test_a_gateway_that_is_told_to_stop_lets_open_answers_go_on_for_a_while(
    stack: Stack, tmp_path: Path, tokens: int, patience: int, ending: str
) -> None:
    settings = {"TRITON_URL": stack.settings.grpc_address, "SHUTDOWN_TIMEOUT": str(patience)}
    body = {**LONG, "max_tokens": tokens, "min_tokens": tokens, "stream": True}
    begun = threading.Barrier(5)

    def read() -> str:
        text = ""
        with httpx.stream("POST", f"{stopping.url}/api/v1/generate", json=body) as response:
            for piece in response.iter_text():
                if not text:
                    begun.wait(20)
                text += piece
        return text

    with gateway(tmp_path, dict(os.environ), WATCHDOG="false", **settings) as stopping:
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(read) for _ in range(4)]
            begun.wait(20)
            os.kill(stopping.process.pid, signal.SIGTERM)
            assert eventually(lambda: refuses(stopping.url), 1.0)
            texts = [answer.result(timeout=60) for answer in answers]
        assert eventually(lambda: not stopping.process.running, 10)
    for text in texts:
        *_, last = text.strip().split("\n\n")
        assert last.startswith(f"event: {ending}\n")
        assert ending == "done" or "shutting down" in last
    assert eventually(lambda: is_idle(stack), 10), engine(stack)


def refuses(url: str) -> bool:
    try:
        httpx.get(f"{url}/health/ready")
    except (httpx.ConnectError, httpx.ReadError):
        # Connections that the listener had not taken yet when it closed are reset.
        return True
    return False
