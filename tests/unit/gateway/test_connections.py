"""Connections of clients that send without end, or nothing, or do not read."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.http import connections
from gateway.settings import Settings
from launcher.loopback import free_ports
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, bearer, entry
from tests.unit.gateway.served_gateway import (
    PATIENCE_SECONDS,
    deaf_socket,
    exchange,
    served,
    until_the_end,
)

SOON = 0.2
"""Seconds after which the gateways of these tests lose their patience."""

GET = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


class App:
    """Answers `/health` at once, and whatever else when a test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.bodies: list[bytes] = []
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        if scope["path"] == "/unread":
            await self._talk(send, receive)
            return
        if scope["path"] == "/slow":
            await self.go.wait()
        if scope["method"] == "POST" and scope["path"] != "/refused":
            await self._read(receive)
        answer = b"fine"
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _read(self, receive: Receive) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            self.bodies.append(message["body"])
            if not message["more_body"]:
                return

    async def _talk(self, send: Send, receive: Receive) -> None:
        async def end() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()

        watcher = asyncio.create_task(end())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not self.left.is_set():
            message = {"type": "http.response.body", "body": b"x" * 65_536, "more_body": True}
            await send(message)
            await asyncio.sleep(0)
        await watcher


def settings(**values: Any) -> Settings:
    return Settings(**{"header_timeout": 60.0, "body_timeout": 60.0, "send_timeout": 60.0} | values)


async def send_without_end(port: int, head: bytes, piece: bytes) -> tuple[bytes, int]:
    """Sends a head and then a piece again and again until the connection ends.

    Returns:
        What came, and how many bytes were sent.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent = 0
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(head)
            while sent < 64 * 2**20:
                writer.write(piece)
                sent += len(piece)
                await writer.drain()
    except (ConnectionResetError, BrokenPipeError):
        pass
    received = await until_the_end(reader)
    writer.close()
    return received, sent


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"GET /health HTTP/1.1\r\nA: ", b"x" * 65_536),
        (b"GET /health HTTP/1.1\r\n", b"A: " + b"x" * 8000 + b"\r\n"),
        (b"GET /", b"x" * 65_536),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ", b"x" * 65_536),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: x\r\n" * 10_000),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 65_536),
    ],
    ids=["one header", "many headers", "the address", "a trailer", "trailers", "a chunk's size"],
)
async def test_headers_without_end_are_refused_early(head: bytes, piece: bytes) -> None:
    app = App()
    async with served(app, settings()) as port:
        received, sent = await send_without_end(port, head, piece)
        # What the kernel and one read hold comes before anybody can refuse it.
        assert sent < 16 * 2**20
        assert not received or received.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))
        assert b"fine" in await exchange(port, GET_HEALTH)


@pytest.mark.parametrize(
    "headers",
    [b"A: x\r\n" * 200, b"A: " + b"x" * 70_000 + b"\r\n", b"A: " + b"x" * 7000 + b"\r\n"],
)
async def test_a_whole_head_that_is_too_large_never_reaches_the_application(headers: bytes) -> None:
    app = App()
    limit = 4096 if len(headers) < 8000 else 65_536
    async with served(app, settings(max_header_bytes=limit)) as port:
        answer = await exchange(port, b"GET /health HTTP/1.1\r\n" + headers + b"\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 ")
        error = json.loads(body)
        assert error["code"] == "too_large"
        assert f"at most {limit} bytes in 128 headers" in error["error"]
    assert app.asked == []


async def test_what_clients_and_proxies_send_is_let_through() -> None:
    async with served(App(), settings()) as port:
        headers = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 500) for number in range(100))
        request = b"GET /health HTTP/1.1\r\nConnection: close\r\n" + headers + b"\r\n"
        assert b"fine" in await exchange(port, request)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", b""), (b"GET /health HTTP/1.1\r\nA: b", b"408"), (b"\r\n", b"408")],
)
async def test_a_client_that_does_not_finish_its_head_is_left(sent: bytes, status: bytes) -> None:
    async with served(App(), settings(header_timeout=SOON)) as port:
        answer = await exchange(port, sent)
    assert answer.startswith(b"HTTP/1.1 " + status if status else b"")
    assert bool(answer) == bool(status)


async def test_a_client_that_drips_does_not_begin_anew_with_each_byte() -> None:
    async with served(App(), settings(header_timeout=SOON)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.create_task(until_the_end(reader))
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not ended.done():
                writer.write(b"\r\n")
                await asyncio.sleep(0.01)
        assert b"fine" in await ended
        writer.close()


async def test_a_body_that_does_not_come_ends_the_request() -> None:
    app = App()
    async with served(app, settings(body_timeout=SOON)) as port:
        answer = await exchange(port, POST + b"half")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"send its body in time" in answer
        async with asyncio.timeout(PATIENCE_SECONDS):
            await app.left.wait()


async def test_a_body_that_keeps_coming_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_BYTES_PER_SECOND", 1)
    app = App()
    async with served(app, settings(body_timeout=SOON)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST / HTTP/1.1\r\nContent-Length: 200\r\nConnection: close\r\n\r\n" + b"x" * 100
        )
        # Another client, which comes later and sends nothing of its body, is left before.
        assert b"408" in await exchange(port, POST)
        writer.write(b"x" * 100)
        assert b"fine" in await until_the_end(reader)
        writer.close()


async def test_the_rest_of_a_body_that_nobody_wants_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_LINGER_SECONDS", SOON)
    async with served(App(), settings()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.create_task(until_the_end(reader))
        writer.write(POST.replace(b"POST /", b"POST /refused"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not ended.done():
                writer.write(b"x")
                await asyncio.sleep(0.01)
        assert (await ended).count(b"HTTP/1.1") == 1
        writer.close()


async def test_an_answer_that_takes_long_is_not_cut_by_the_next_request() -> None:
    app = App()
    async with served(app, settings(header_timeout=SOON)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"GET /health HTTP/1.1\r\n")
        for _ in range(3):
            # Each of these waits as long as the head above could.
            assert b"408" in await exchange(port, b"GET / HTTP/1.1\r\n")
        app.go.set()
        assert b"fine" in await reader.readuntil(b"fine")
        writer.close()


async def test_requests_on_one_connection_do_not_pile_up() -> None:
    app = App()
    async with served(app, settings()) as port:
        assert b"fine" not in await exchange(port, GET * 1000)
        app.go.set()
    assert len(app.asked) == 1


async def test_half_requests_beyond_the_most_connections_make_room() -> None:
    async with served(App(), settings(max_connections=4)) as port:
        halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        for _, writer in halves:
            writer.write(b"GET / HTTP/1.1\r\n")
        for _ in range(3):
            assert b"fine" in await exchange(port, GET_HEALTH)
        assert await until_the_end(halves[0][0]) == b""
        for _, writer in halves:
            writer.close()


async def test_with_all_connections_at_work_probes_are_answered_and_others_told() -> None:
    app = App()
    async with served(app, settings(max_connections=4)) as port:
        working = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for _, writer in working:
            writer.write(GET)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(app.asked) < 4:
                await asyncio.sleep(0.01)
        for _ in range(40):
            assert b"fine" in await exchange(port, GET_HEALTH)
            told = await exchange(port, GET)
            assert told.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in told
            assert b"MAX_CONNECTIONS" in told
        app.go.set()
        for reader, writer in working:
            assert b"fine" in await reader.readuntil(b"fine")
            writer.close()


async def test_an_answer_that_is_not_read_ends() -> None:
    app = App()
    async with served(app, settings(send_timeout=SOON)) as port:
        client = deaf_socket(port)
        client.sendall(b"GET /unread HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await app.left.wait()
        client.close()


async def test_an_answer_that_is_read_slowly_does_not_end() -> None:
    app = App()
    async with served(app, settings(send_timeout=SOON)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /unread HTTP/1.1\r\n\r\n")
        received = 0
        while received < 8 * 2**20:
            received += len(await reader.read(65_536))
        assert not app.left.is_set()
        writer.close()


def _few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))


def test_a_crowd_of_half_requests_leaves_health_and_keys_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(KEYS)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PATH": os.environ["PATH"],
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "API_KEYS_FILE": str(path),
        "TRITON_URL": "127.0.0.1:9",
        "HEADER_TIMEOUT": "600",
    }
    give_up = time.monotonic() + 2 * PATIENCE_SECONDS
    crowd: list[socket.socket] = []

    def status(path: str) -> int:
        # The kernel may still end a connection that came with the crowd.
        while True:
            try:
                return httpx.get(url + path, headers=bearer(USER), timeout=30).status_code
            except httpx.TransportError:
                assert gateway.poll() is None, log.read_text()
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.05)

    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=variables,
            stderr=output,
            preexec_fn=_few_descriptors,
        ) as gateway,
    ):
        try:
            assert status("/status") == 200
            for _ in range(300):
                client = socket.create_connection(("127.0.0.1", port))
                client.sendall(b"GET / HTTP/1.1\r\n")
                crowd.append(client)
            assert status("/health") == 200
            path.write_text(json.dumps([entry(ADMIN, "root", "admin")]))
            while status("/status") != 401:
                assert time.monotonic() < give_up, log.read_text()
                time.sleep(0.05)
            # Those that have waited longest have made room; others are still there.
            assert crowd[0].recv(1) == b""
            crowd[-1].setblocking(False)
            with pytest.raises(BlockingIOError):
                crowd[-1].recv(1)
        finally:
            for client in crowd:
                client.close()
            gateway.terminate()
    assert gateway.returncode in (0, -signal.SIGTERM), log.read_text()
