"""A separate stack on loopback ports, for tests and benchmarks beside other servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from launcher.settings import StackSettings
from launcher.stack import Stack
from launcher.supervisor import TICK_SECONDS


def free_ports(count: int) -> list[int]:
    """Returns free ports, which no other call in this network namespace returns meanwhile.

    A server takes its port some time after it was chosen. Until then, neither does the system give
    it to a client, since it is none of the ports that it chooses from; nor does another process
    that calls this function choose it, as long as this process runs.

    Raises:
        OSError: There are none left.
    """
    with _choosing:
        ports = list(islice(filter(_is_free, _own_ports), count))
    if len(ports) < count:
        raise OSError(f"no ports are left between {_FIRST_PORT} and the system's own")
    return ports


def _blocks_of_ports() -> Iterator[int]:
    """Yields the ports of blocks that this process has claimed, each once."""
    claims = []  # the system releases them when the process ends, however it does
    for first in range(_FIRST_PORT, _first_ephemeral_port() - _BLOCK_SIZE, _BLOCK_SIZE):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0persona-ports-{first}")
        except OSError:
            claim.close()
            continue
        claims.append(claim)
        yield from range(first, first + _BLOCK_SIZE)


def _first_ephemeral_port() -> int:
    """Returns the first port of those from which the system chooses when it is asked for any."""
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


_FIRST_PORT, _BLOCK_SIZE = 10_000, 100
_choosing = threading.Lock()
_own_ports = _blocks_of_ports()


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
    """Supervises running stacks within the context, each from a thread of its own meanwhile.

    The threads live on: a server that one of them has started again ends when the thread does.
    """
    enough = threading.Event()

    def supervise(stack: Stack, rests: threading.Event) -> None:
        try:
            while not enough.wait(TICK_SECONDS):
                stack.tick()
        finally:
            rests.set()
        threading.Event().wait()

    resting = [threading.Event() for _ in stacks]
    for each in zip(stacks, resting, strict=True):
        threading.Thread(target=supervise, args=each, daemon=True).start()
    try:
        yield
    finally:
        enough.set()
        for rests in resting:
            rests.wait()
