"""Keys, policy, limits and the audit log of real gateways, each in front of the shared Triton."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.loopback import free_ports
from launcher.processes import ManagedProcess
from launcher.settings import ROOT
from launcher.stack import Stack
from persona_client import AsyncPersonaClient, NotAllowedError, OverloadedError, PersonaClient
from tests.e2e.held_engine import held_engine, num_cancelled
from tests.e2e.triton_call import describe
from tests.e2e.waiting import eventually

POLICY = ROOT / "deploy" / "policy.example.json"
BODY: dict[str, Any] = {"prompt": "How do I bake bread?", "temperature": 0.0, "max_tokens": 8}
STEERED: dict[str, Any] = {**BODY, "trait": "sarcasm", "scalar": 1.0}


def persona(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "persona_client.cli", *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def new_key(name: str, role: str) -> tuple[str, dict[str, Any]]:
    """Returns a key and its entry, as the command makes them."""
    made = persona("keys", "new", "--name", name, "--role", role)
    key, line = made.stdout.splitlines()
    return key, json.loads(line)


@contextmanager
def gateway(stack: Stack, folder: Path, **variables: str) -> Iterator[str]:
    """Gives the address of a gateway with settings of its own."""
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "TRITON_URL": stack.settings.grpc_address,
        **variables,
    }
    log = folder / f"gateway-{port}.log"
    process = ManagedProcess("gateway", [sys.executable, "-m", "gateway"], environment, log)
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert eventually(ready, 60), process.last_lines()
        yield url
    finally:
        process.stop(patience_seconds=10)


class Guarded:
    """A gateway with all protection on."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.keys = folder / "keys.json"
        self.audit = folder / "audit.log"
        self.user, self.user_entry = new_key("alice", "user")
        self.admin, self.admin_entry = new_key("root", "admin")
        self.keys.write_text(json.dumps([self.user_entry, self.admin_entry]))
        self.url = ""

    def generated(self) -> int:
        """Returns how many requests have reached the engine."""
        engine = describe(self.stack.settings.grpc_address)["engine"]
        return int(engine["finished"] + engine["cancelled"] + engine["running"])

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()]


@pytest.fixture(scope="module")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    guarded = Guarded(stack, folder)
    with gateway(
        stack,
        folder,
        API_KEYS_FILE=str(guarded.keys),
        POLICY_FILE=str(POLICY),
        AUDIT_LOG=str(guarded.audit),
        RATE_LIMIT_TOKENS="100000/day",
    ) as url:
        guarded.url = url
        yield guarded


def send(url: str, head: bytes, body: bytes, *, leave: bool = True) -> bytes:
    """Sends bytes that no HTTP library would and returns all answers.

    Args:
        url: The gateway.
        head: The first lines.
        body: What follows the empty line after them.
        leave: Whether to say that nothing comes after that, which ends the connection.
    """
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as connection:
        connection.sendall(head + b"\r\n" + body)
        if leave:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def lines(*headers: bytes) -> bytes:
    return b"".join(header + b"\r\n" for header in headers)


def test_clients_and_the_command_send_their_key(guarded: Guarded) -> None:
    with PersonaClient(guarded.url, api_key=guarded.user) as client:
        assert client.generate("Hi", trait="sarcasm", scalar=1.0, max_tokens=4).response
        with client.stream("Hi", trait="sarcasm", scalar=1.0, max_tokens=4) as stream:
            assert list(stream)
        assert "sarcasm" in client.traits()
        with pytest.raises(NotAllowedError, match="'alice' may not do that"):
            client.delete_trait("sarcasm")
    with (
        PersonaClient(guarded.url, api_key="") as nobody,
        pytest.raises(NotAllowedError, match="needs an API key"),
    ):
        nobody.traits()
    asked = ["generate", "Hi", "--max-tokens", "4", "--url", guarded.url]
    assert persona(*asked, PERSONA_API_KEY=guarded.user).returncode == 0
    refused = persona(*asked, PERSONA_API_KEY="wrong")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the API key is not valid" in refused.stderr


async def test_the_asynchronous_client_sends_its_key(guarded: Guarded) -> None:
    async with AsyncPersonaClient(guarded.url, api_key=guarded.user) as client:
        assert (await client.baseline("Hi", max_tokens=4)).response
        with pytest.raises(NotAllowedError, match="'maliciousness' with 1 is not allowed"):
            await client.generate("Hi", trait="maliciousness", scalar=1.0)


def test_no_bytes_lead_around_the_key(guarded: Guarded) -> None:
    body = json.dumps(STEERED).encode()
    key = guarded.user.encode()
    host, json_type = b"Host: x", b"Content-Type: application/json"
    size = b"Content-Length: %d" % len(body)
    good = b"Authorization: Bearer " + key
    inner = lines(b"POST /api/v1/generate HTTP/1.1", host, json_type, size) + b"\r\n" + body
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    generate = b"POST /api/v1/generate HTTP/1.1"
    attempts: dict[str, tuple[bytes, bytes]] = {
        "plain": (lines(generate, host, json_type, size), body),
        "two keys": (lines(generate, host, json_type, size, good, good), body),
        "two keys, one wrong": (
            lines(generate, host, json_type, size, b"Authorization: Bearer x", good),
            body,
        ),
        "folded": (
            lines(generate, host, json_type, size, b"Authorization: Bearer", b"\txxx"),
            body,
        ),
        "underscores": (lines(generate, host, json_type, size, b"X_API_Key: " + key), body),
        "space before the colon": (
            lines(generate, host, json_type, size, b"X-API-Key : " + key),
            body,
        ),
        "in the address": (
            lines(b"POST /api/v1/generate?key=" + key + b" HTTP/1.1", host, json_type, size),
            body,
        ),
        "whole address": (
            lines(b"POST http://x/api/v1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "public authority": (
            lines(b"POST http://x/health/../api/v1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "two slashes": (lines(b"POST //api/v1/generate HTTP/1.1", host, json_type, size), body),
        "fragment": (
            lines(b"POST /api/v1/generate#/health HTTP/1.1", host, json_type, size),
            body,
        ),
        "semicolon": (
            lines(b"POST /api/v1/generate;/health HTTP/1.1", host, json_type, size),
            body,
        ),
        "encoded": (
            lines(b"POST /%61pi%2fv1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "other method": (
            lines(b"GET /api/v1/generate HTTP/1.1", host, b"X-HTTP-Method-Override: POST", size),
            body,
        ),
        "lower-case method": (
            lines(b"post /api/v1/generate HTTP/1.1", host, json_type, size),
            body,
        ),
        "HTTP/1.0": (lines(b"POST /api/v1/generate HTTP/1.0", json_type, size), body),
        "proxy's word": (
            lines(generate, host, json_type, size, b"X-Forwarded-For: 127.0.0.1"),
            body,
        ),
        "websocket": (
            lines(
                b"GET /api/v1/generate HTTP/1.1",
                host,
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            ),
            b"",
        ),
        "hidden behind a public one, length and chunks": (
            lines(
                b"GET /health HTTP/1.1",
                host,
                b"Content-Length: 5",
                b"Transfer-Encoding: chunked",
            ),
            b"0\r\n\r\n" + inner,
        ),
        "hidden behind a public one, two lengths": (
            lines(b"GET /health HTTP/1.1", host, b"Content-Length: 0", b"Content-Length: 9"),
            inner,
        ),
        "behind a public one": (
            lines(b"GET /health HTTP/1.1", host),
            inner,
        ),
        "chunks": (lines(generate, host, json_type, b"Transfer-Encoding: chunked"), chunked),
    }
    before = guarded.generated()
    for name, (head, content) in attempts.items():
        answer = send(guarded.url, head, content)
        # Only the public address before another request may be answered, and then perhaps alone.
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
        assert statuses, name
        refused = statuses[1:] if name == "behind a public one" else statuses
        assert all(status.startswith(b"4") for status in refused), (name, answer)
        assert b"tokens_generated" not in answer, name
        assert key not in answer, name
    assert guarded.generated() == before
    head = lines(generate, host, json_type, size, good, b"Connection: close")
    allowed = send(guarded.url, head, body, leave=False)
    assert b"HTTP/1.1 200" in allowed
    assert b"tokens_generated" in allowed
    assert b"\r\nserver:" not in allowed.lower()


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


def test_a_key_is_withdrawn_without_a_restart(guarded: Guarded) -> None:
    def status() -> int:
        headers = {"Authorization": f"Bearer {guarded.user}"}
        return httpx.get(f"{guarded.url}/api/v1/traits", headers=headers).status_code

    assert status() == 200
    guarded.keys.write_text(
        json.dumps([{**guarded.user_entry, "disabled": True}, guarded.admin_entry])
    )
    try:
        assert eventually(lambda: status() == 401)
    finally:
        guarded.keys.write_text(json.dumps([guarded.user_entry, guarded.admin_entry]))
    assert eventually(lambda: status() == 200)


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
    with gateway(stack, tmp_path, TRUSTED_PROXIES="127.0.0.1", **limit) as url:
        assert statuses(url) == [200, 200, 429]
    with gateway(stack, tmp_path, **limit) as url:
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
        with gateway(
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


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"API_KEYS": '[{"name": "x"}]'}, "error: API_KEYS: 0.role: Field required"),
        ({"API_KEYS_FILE": "/nowhere/keys.json"}, "cannot be read"),
        ({"POLICY_FILE": str(ROOT / "pyproject.toml")}, "not valid JSON"),
        ({"AUDIT_LOG": "/nowhere/audit.log"}, "cannot be written"),
        ({"TRUSTED_PROXIES": "*"}, "error: TRUSTED_PROXIES is"),
        ({"RATE_LIMIT_STORAGE": "redi://:s3cret@x"}, "error: RATE_LIMIT_STORAGE is neither"),
        ({"RATE_LIMIT_REQUESTS": "lots"}, "write a limit like 60/minute"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_no_gateway(
    variables: dict[str, str], says: str
) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env={**os.environ, "PORT": "1", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert started.returncode == 2
    assert says in started.stderr
    assert "Traceback" not in started.stderr
    assert "s3cret" not in started.stderr
    assert len(started.stderr.strip().splitlines()) == 1
