"""More connections and requests than there is room for."""

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

import httpx
import pytest

from launcher.loopback import free_ports
from tests.unit.gateway.http.patience import GET, GET_HEALTH, App, settings
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, bearer, entry
from tests.unit.gateway.served_gateway import PATIENCE_SECONDS, exchange, served, until_the_end


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
