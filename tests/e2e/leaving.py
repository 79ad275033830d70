"""Clients that go away while their requests run."""

from __future__ import annotations

import json
import socket
from typing import Any

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.waiting import eventually


def leave(stack: Stack, path: str, body: dict[str, Any], running: int) -> None:
    """Posts a request, goes away once its answers have begun, and sees them all stopped.

    Args:
        stack: What the gateway belongs to.
        path: The route.
        body: The request, for answers of several hundred tokens.
        running: How many generations the engine runs for the request.
    """
    address = stack.settings.grpc_address
    assert eventually(lambda: num_open(address) == 0)
    before = num_cancelled(address)
    with held_engine(stack.triton) as engine:
        with socket.create_connection(("127.0.0.1", stack.settings.gateway_port)) as connection:
            connection.sendall(request_bytes(path, body))
            assert eventually(lambda: num_open(address) == running)
            engine.steps(BEGINNING)
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + running)
    assert eventually(lambda: num_open(address) == 0)


def request_bytes(path: str, body: dict[str, Any], *headers: str) -> bytes:
    """Returns a request as it is on the wire.

    Args:
        path: The route.
        body: The body.
        *headers: Lines for its head, besides those that it needs.
    """
    payload = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(payload)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + payload
