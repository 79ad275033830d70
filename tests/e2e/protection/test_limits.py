"""The policy and the limits: what may be steered, how much, and who is counted as whom."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import httpx
import pytest

from launcher.loopback import free_ports
from launcher.processes import ManagedProcess
from launcher.stack import Stack
from persona_client import OverloadedError, PersonaClient
from tests.e2e.held_engine import held_engine, num_cancelled
from tests.e2e.protection.guarded_gateway import BODY, STEERED, Guarded, gateway_url, lines
from tests.e2e.waiting import eventually


def test_harm_may_be_reduced_but_not_amplified_except_by_an_admin(guarded: Guarded) -> None:
    url = f"{guarded.url}/api/v1/generate"
    before = guarded.generated()
    for key, scalar, status in (
        (guarded.user, 1.0, 403),
        (guarded.user, -1.0, 200),
        (guarded.admin, 1.0, 200),
        (guarded.admin, 99.0, 403),
    ):
        body = {**BODY, "trait": "maliciousness", "scalar": scalar}
        headers = {"X-API-Key": key, "X-Request-ID": f"policy{scalar:g}"}
        answer = httpx.post(url, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert "'maliciousness'" in answer.json()["error"]
        else:
            assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
            assert answer.headers["cache-control"] == "no-store"
    assert guarded.generated() == before + 2
    # Lines are written when answers have been sent.
    assert eventually(
        lambda: {"policy-1", "policy99"} <= {line["request_id"] for line in guarded.audited()}
    )
    written = {line["request_id"]: line for line in guarded.audited()}
    assert written["policy99"]["outcome"] == "refused"
    reduced = written["policy-1"]
    assert (reduced["key"], reduced["traits"], reduced["scalars"]) == (
        "alice",
        ["maliciousness"],
        [-1.0],
    )
    assert reduced["tokens"] > 0
    text = guarded.audit.read_text()
    assert BODY["prompt"] not in text
    assert "persona_" not in text.replace("persona_gateway", "")


def test_the_tokens_of_a_client_that_goes_away_are_charged(guarded: Guarded) -> None:
    """A client must not get long answers for nothing by never reading their ends."""
    body = json.dumps({**STEERED, "max_tokens": 900, "min_tokens": 900}).encode()
    address = httpx.URL(guarded.url)
    head = lines(
        b"POST /api/v1/generate HTTP/1.1",
        b"Host: x",
        b"Content-Type: application/json",
        b"X-API-Key: " + guarded.admin.encode(),
        b"Content-Length: %d" % len(body),
    )

    asked = 0

    def left() -> int:
        nonlocal asked
        asked += 1
        headers = {"X-API-Key": guarded.admin}
        answer = httpx.post(f"{guarded.url}/api/v1/generate", json=STEERED, headers=headers)
        return int(answer.headers["x-ratelimit-remaining-tokens"])

    left()
    before = left()
    each = before - left()
    tokens = 30
    stack = guarded.stack
    cancelled = num_cancelled(stack.settings.grpc_address)
    with held_engine(stack.triton) as engine:
        with socket.create_connection((address.host, address.port or 80)) as connection:
            connection.sendall(head + b"\r\n" + body)
            engine.steps(each + tokens)
        assert engine.goes_on_until(lambda: num_cancelled(stack.settings.grpc_address) > cancelled)
    # Each look costs what an answer does, and the first was before; the last is not charged yet.
    assert eventually(lambda: before - left() > (asked - 1) * each + tokens)


def test_addresses_are_counted_as_a_trusted_proxy_says(stack: Stack, tmp_path: Path) -> None:
    def statuses(url: str) -> list[int]:
        headers = [{"X-Forwarded-For": f"203.0.113.9, 198.51.100.{host}"} for host in (1, 2, 1)]
        path = f"{url}/api/v1/generate/baseline"
        return [httpx.post(path, json=BODY, headers=each).status_code for each in headers]

    limit = {"RATE_LIMIT_REQUESTS": "1/minute"}
    with gateway_url(stack, tmp_path, TRUSTED_PROXIES="127.0.0.1", **limit) as url:
        assert statuses(url) == [200, 200, 429]
    with gateway_url(stack, tmp_path, **limit) as url:
        assert statuses(url) == [200, 429, 429]
        with (
            PersonaClient(url, deadline=2) as client,
            pytest.raises(OverloadedError, match="this address has spent its requests") as caught,
        ):
            client.baseline("Hi")
        assert caught.value.retry_after


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
def test_workers_count_together_in_a_redis(stack: Stack, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    redis = ManagedProcess("Redis", command, os.environ, tmp_path / "redis.log")
    try:
        with gateway_url(
            stack,
            tmp_path,
            WORKERS="2",
            RATE_LIMIT_REQUESTS="4/minute",
            RATE_LIMIT_STORAGE=f"redis://127.0.0.1:{port}",
        ) as url:
            path = f"{url}/api/v1/generate/baseline"
            # Each on a connection of its own, so that both workers have some.
            statuses = [httpx.post(path, json=BODY).status_code for _ in range(10)]
        assert sorted(statuses) == [200] * 4 + [429] * 6
    finally:
        redis.stop(patience_seconds=5)
