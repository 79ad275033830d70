"""Clients that ask for much and read nothing do not keep the model from others."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import pytest

from gateway.api.cached_call import CachedCall
from gateway.app import create_app
from gateway.settings import Settings
from tests.unit.gateway.served_gateway import PATIENCE_SECONDS, deaf_socket, served
from triton_models.grpc_messages import TritonChunk

PLACES = 66


class Stream:
    """Stands in for a stream to Triton: more than any socket holds, and then nothing until told."""

    end = asyncio.Event()

    def __init__(self, stub: Any, request: Any, timeout: float, metadata: Any = ()) -> None:
        self.ended = False
        self._pieces = 16

    async def open(self) -> None:
        pass

    async def read(self, timeout: float) -> TritonChunk | None:
        if self.ended:
            return None
        if self._pieces:
            self._pieces -= 1
            return TritonChunk("x" * 20_000, "", 1, 1)
        await Stream.end.wait()
        self.ended = True
        return TritonChunk("x", "stop", 1, 2, final=True)

    def cancel(self) -> None:
        pass


def compare_body() -> bytes:
    steering = {"traits": [{"name": "sarcasm", "scalar": 1.0}]}
    document = {"prompt": "x", "steerings": [steering] * 32, "stream": True}
    body = json.dumps(document).encode()
    head = "POST /api/v1/compare HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("answers_end", [True, False])
async def test_unread_comparisons_give_up_their_places(
    answers_end: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def describe() -> dict[str, Any]:
        return {"traits": {"sarcasm": {}}, "problems": [], "model": "m", "model_info": {}}

    async def stop(self: Any, request_id: str) -> bool:
        Stream.end.set()
        return True

    Stream.end = asyncio.Event()
    monkeypatch.setattr("gateway.triton.server.TritonStream", Stream)
    monkeypatch.setattr("gateway.triton.server.TritonServer.stop", stop)
    settings = Settings(
        triton_url="127.0.0.1:9",
        health_watch=False,
        max_open_requests=PLACES,
        # In the one case, the end of the answers alone has to be enough.
        send_timeout=600.0 if answers_end else 0.2,
    )
    app = create_app(settings)
    clients: list[socket.socket] = []
    async with served(app, settings, lifespan="on") as port:
        gateway = app.state.gateway
        app.state.gateway = replace(gateway, description=CachedCall(describe, 600))
        for _ in range(2):
            client = deaf_socket(port)
            client.sendall(compare_body())
            clients.append(client)
        await until(lambda: len(gateway.triton._open) == PLACES)
        if answers_end:
            Stream.end.set()
        await until(lambda: not gateway.triton._open)
        for client in clients:
            client.close()
