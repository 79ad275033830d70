"""Ports for tests and benchmarks beside each other: nobody else takes them before their server."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from launcher.loopback import free_ports
from launcher.settings import ROOT

CHOOSE = "from launcher.loopback import free_ports; print(*free_ports(150)); input()"


def test_two_processes_never_choose_the_same_ports() -> None:
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CHOOSE],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    with start() as first, start() as second:
        lines = [each.stdout.readline() if each.stdout else "" for each in (first, second)]
        for each in (first, second):
            each.communicate("\n")
    chosen = " ".join(lines).split()
    assert len(set(chosen)) == len(chosen) == 300


def test_the_system_gives_them_to_nobody() -> None:
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert not set(free_ports(120)) & set(range(int(low), int(high) + 1))


def test_a_port_that_a_server_has_is_not_chosen() -> None:
    (port,) = free_ports(1)
    with socket.socket() as server:
        with suppress(OSError):  # another server has it, which is as good
            server.bind(("127.0.0.1", port + 1))
        assert port + 1 not in free_ports(110)
