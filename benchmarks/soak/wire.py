"""HTTP/1.1 over a connection of one's own, which can be cut or read slowly at any place."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

_LINE_LIMIT = 64 * 1024
_SMALL_BUFFER = 4096


@dataclass(frozen=True, slots=True)
class WireCall:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def head(self) -> bytes:
        """Returns everything before the body, its empty line included."""
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            "host: localhost",
            "connection: close",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        if self.body or self.method in ("POST", "PUT"):
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode()

    def encoded(self) -> bytes:
        """Returns the request as it is on the wire."""
        return self.head() + self.body


@dataclass(slots=True)
class Reply:
    """What came back: status 0 before any has come, and whether the body ended as announced."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Returns the body's value, or `None` if it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Connection:
    """One connection for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends bytes.

        Raises:
            OSError: The connection is gone.
        """
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> Reply:
        """Returns the answer as far as its headers; its status is 0 if none came.

        Raises:
            OSError: The connection broke.
        """
        reply = Reply()
        try:
            lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return reply
        reply.status = int(lines[0].split(" ")[1])
        for line in lines[1:]:
            name, _, value = line.partition(":")
            reply.headers[name.lower()] = value.strip()
        reply.whole = reply.status == 204
        return reply

    async def piece(self, reply: Reply) -> bytes:
        """Returns the body's next piece, as the server sent it, and adds it to the reply.

        It is empty at the end, and where the connection ends before the body does: `reply.whole`
        tells which.

        Raises:
            OSError: The connection broke.
        """
        if reply.whole or not reply.status:
            return b""
        try:
            piece = await self._next(reply)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return b""
        reply.body += piece
        return piece

    async def rest(self, reply: Reply) -> Reply:
        """Reads the whole body."""
        while await self.piece(reply):
            pass
        return reply

    def reset(self) -> None:
        """Ends the connection as a crashed client's kernel does, rather than in good order."""
        plain = self._writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _next(self, reply: Reply) -> bytes:
        if reply.headers.get("transfer-encoding") == "chunked":
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            piece = (await self._reader.readexactly(size + 2))[:-2]
            reply.whole = size == 0
            return piece
        if "content-length" not in reply.headers:
            piece = await self._reader.read(_LINE_LIMIT)
            reply.whole = not piece
            return piece
        left = int(reply.headers["content-length"]) - len(reply.body)
        piece = await self._reader.readexactly(min(left, _LINE_LIMIT))
        reply.whole = left == len(piece)
        return piece


@asynccontextmanager
async def connected(port: int, *, small: bool = False) -> AsyncIterator[Connection]:
    """Gives a connection to a port on this machine, and ends it.

    Of a small one the kernel and this program hold little of an answer that is not read, so that
    the server notices soon.

    Raises:
        OSError: Nothing listens there.
    """
    plain = socket.socket()
    plain.setblocking(False)
    if small:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
    try:
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
    except BaseException:
        plain.close()
        raise
    limit = _SMALL_BUFFER if small else _LINE_LIMIT
    reader, writer = await asyncio.open_connection(sock=plain, limit=limit)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()


async def exchange(port: int, call: WireCall) -> Reply:
    """Sends a request and reads all of the answer.

    Raises:
        OSError: There is no connection, or it broke.
    """
    async with connected(port) as connection:
        await connection.send(call.encoded())
        return await connection.rest(await connection.head())
