"""An application behind uvicorn and the gateway's own connections, on a real port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from gateway.http.connections import connection_options
from gateway.settings import Settings

PATIENCE_SECONDS = 60.0
"""How long a test waits for what must come: only a fault makes it wait that long."""


@asynccontextmanager
async def served(app: Any, settings: Settings, lifespan: Any = "off") -> AsyncIterator[int]:
    """Serves an application as `python -m gateway` does, and gives its port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan=lifespan,
        log_config=None,
        timeout_graceful_shutdown=1,
        **connection_options(settings),
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def exchange(port: int, request: bytes) -> bytes:
    """Sends a request and returns all that comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await until_the_end(reader)
    finally:
        writer.close()


async def until_the_end(reader: asyncio.StreamReader) -> bytes:
    """Returns all that comes until the other side ends the connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        received = b""
        try:
            while data := await reader.read(65_536):
                received += data
        except ConnectionResetError:
            pass
        return received


def deaf_socket(port: int) -> socket.socket:
    """Returns a connected socket with room for little, of a client that will not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    return client
