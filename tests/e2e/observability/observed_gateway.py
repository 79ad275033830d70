"""A gateway whose metrics and log are read, and requests to it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.prometheus_text import Scrape
from launcher.processes import ManagedProcess
from launcher.stack import Stack
from tests.e2e.gateways import gateway as start_gateway
from tests.e2e.leaving import request_bytes
from tests.e2e.triton_call import describe

SECRET = "my secret recipe"
BASELINE: dict[str, Any] = {"prompt": f"How do I bake bread by {SECRET}?", "temperature": 0.0}
STEERED: dict[str, Any] = {**BASELINE, "trait": "sarcasm", "scalar": 2.0}
LONG: dict[str, Any] = {**BASELINE, "max_tokens": 900, "min_tokens": 900}
GENERATE = "/api/v1/generate"


@dataclass
class Running:
    """A gateway of these tests' own.

    Attributes:
        url: Where it is.
        process: Its process.
    """

    url: str
    process: ManagedProcess

    def scrape(self) -> Scrape:
        # A connection of its own, since that chooses the worker.
        return Scrape(httpx.get(f"{self.url}/metrics").text)

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        """Returns the log lines that have the fields, of those that are written to their end."""
        written, _, _ = self.process.output.rpartition("\n")
        lines = [json.loads(line) for line in written.splitlines()]
        return [line for line in lines if fields.items() <= line.items()]


@contextmanager
def running(stack: Stack, folder: Path, **environment: str) -> Iterator[Running]:
    """Starts a gateway beside the stack's own."""
    address = stack.settings.grpc_address
    settings = {"TRITON_URL": address, "LOG_FORMAT": "json", **environment}
    with start_gateway(folder, dict(os.environ), **settings) as started:
        yield Running(started.url, started.process)


@contextmanager
def open_request(gateway: Running, body: dict[str, Any], request_id: str) -> Iterator[None]:
    """Sends a request over a connection of its own, which is closed at the end."""
    request = request_bytes(f"{GENERATE}/baseline", body, f"x-request-id: {request_id}")
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) as connection:
        connection.sendall(request)
        yield


def in_engine(stack: Stack) -> int:
    return int(describe(stack.settings.grpc_address)["engine"]["running"])
