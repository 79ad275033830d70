"""A client that goes away while its request runs."""

from __future__ import annotations

import json
import socket
from typing import Any

from launcher.stack import Stack
from tests.e2e.triton_call import describe
from tests.e2e.waiting import eventually


def leave(stack: Stack, path: str, body: dict[str, Any], running: int) -> None:
    """Posts a request over a connection of its own and closes it once the engine runs it.

    Args:
        stack: What the gateway belongs to.
        path: The route.
        body: The request.
        running: How many generations the engine runs for the request.
    """
    payload = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(payload)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", stack.settings.gateway_port)) as connection:
        connection.sendall(head.encode() + payload)
        address = stack.settings.grpc_address
        assert eventually(lambda: describe(address)["engine"]["running"] == running)
