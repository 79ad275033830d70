"""Clients whose heads have no end, are too large, or come too slowly."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.unit.gateway.http.patience import GET_HEALTH, SOON, App, settings
from tests.unit.gateway.served_gateway import PATIENCE_SECONDS, exchange, served, until_the_end


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
