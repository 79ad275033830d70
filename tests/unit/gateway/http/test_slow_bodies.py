"""Clients whose bodies come slowly, or not at all."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http import connections
from tests.unit.gateway.http.patience import POST, SOON, App, settings
from tests.unit.gateway.served_gateway import PATIENCE_SECONDS, exchange, served, until_the_end


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
