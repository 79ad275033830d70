"""An application whose clients try a gateway's patience, and settings that make it short."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from gateway.settings import Settings

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
