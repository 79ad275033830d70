"""Gateways of a test's own, in front of a Triton that runs already."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from launcher.loopback import free_ports
from launcher.processes import ManagedProcess
from tests.e2e.conftest import CONTROL_KEY
from tests.e2e.waiting import eventually

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway in a process of its own."""

    url: str
    process: ManagedProcess


@contextmanager
def gateway(folder: Path, environment: dict[str, str], **settings: str) -> Iterator[RunningGateway]:
    """Runs a gateway.

    Args:
        folder: Where its log goes.
        environment: What it inherits.
        **settings: Its own variables; without `PORT` it listens on a free one.
    """
    port = settings.get("PORT") or str(free_ports(1)[0])
    url = f"http://127.0.0.1:{port}"
    variables = {**CONTROL_KEY, **environment, "HOST": "127.0.0.1", "PORT": port, **settings}
    command = [sys.executable, "-m", "gateway"]
    process = ManagedProcess("the gateway", command, variables, folder / f"gateway-{port}.log")
    try:
        assert eventually(lambda: is_ready(url), START_SECONDS), process.last_lines()
        yield RunningGateway(url, process)
    finally:
        process.stop(patience_seconds=5)


def is_ready(url: str) -> bool:
    """Whether a gateway answers, and some server's models do."""
    try:
        return httpx.get(f"{url}/health/ready", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


def refuses(url: str) -> bool:
    """Whether a gateway takes no connections any more."""
    try:
        httpx.get(f"{url}/health", timeout=60)
    except (httpx.ConnectError, httpx.ReadError):
        # Connections that the listener had not taken yet when it closed are reset.
        return True
    return False
