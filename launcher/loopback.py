"""A separate stack on loopback ports, for tests and benchmarks beside other servers."""

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
    """Returns free ports."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def loopback_settings(run_folder: Path, start_seconds: float) -> StackSettings:
    """Returns settings for a stack on free loopback ports, with Triton's HTTP port.

    Its idle model generates no probe tokens, which would be counted with the others.
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
    """Supervises stacks within the context, as `python -m launcher` does.

    Args:
        *stacks: Running stacks, each used by its own thread only meanwhile.
    """
    ended = threading.Event()

    def supervise(stack: Stack) -> None:
        while not ended.wait(TICK_SECONDS):
            stack.tick()

    threads = [threading.Thread(target=supervise, args=(stack,)) for stack in stacks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
