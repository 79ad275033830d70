"""Answers that take long, or whose clients do not read them."""

from __future__ import annotations

import asyncio

from tests.unit.gateway.http.patience import GET, SOON, App, settings
from tests.unit.gateway.served_gateway import PATIENCE_SECONDS, deaf_socket, exchange, served


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
