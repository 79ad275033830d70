"""A stack of its own on this machine only, for tests and benchmarks beside whatever else runs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.settings import StackSettings
from launcher.stack import Stack
from launcher.supervisor import TICK_SECONDS


def free_ports(count: int) -> list[int]:
    """Returns ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def loopback_settings(run_folder: Path, start_seconds: float) -> StackSettings:
    """Returns settings for a stack on free loopback ports, all of Triton's among them.

    Its idle model generates no tokens by itself, which would be among those that are counted.

    Args:
        run_folder: Where its logs and records go.
        start_seconds: How long the model may take to load.
    """
    gateway, http, grpc, metrics, status = free_ports(5)
    return StackSettings(
        gateway_host="127.0.0.1",
        gateway_port=gateway,
        triton_http_port=http,
        triton_grpc_port=grpc,
        triton_metrics_port=metrics,
        triton_http=True,
        status_port=status,
        run_folder=run_folder,
        start_seconds=start_seconds,
        exit_seconds=5.0,
        probe_seconds=0.0,
    )


@contextmanager
def supervised(*stacks: Stack) -> Iterator[None]:
    """Looks after stacks until the end, as `python -m launcher` does.

    Args:
        *stacks: Running ones, which only this thread of its own touches meanwhile.
    """
    ended = threading.Event()

    def look_after(stack: Stack) -> None:
        while not ended.wait(TICK_SECONDS):
            stack.tick()

    threads = [threading.Thread(target=look_after, args=(stack,)) for stack in stacks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
