"""A supervisor whose file descriptors run out, or whose status port is flooded, stays calm."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from launcher.loopback import free_ports
from launcher.processes import group_members, runs
from launcher.settings import ROOT
from tests.e2e.waiting import eventually

pytestmark = pytest.mark.slow  # each starts servers

MODEL = "tokenizer"


class Supervisor:
    """The program of few_descriptors.py."""

    def __init__(self, program: subprocess.Popen[str], port: int) -> None:
        self._program = program
        self._port = port

    def does(self, what: str) -> dict[str, Any]:
        """Returns what it finds when it has done something."""
        assert self._program.stdin
        assert self._program.stdout
        self._program.stdin.write(f"{what}\n")
        self._program.stdin.flush()
        found: dict[str, Any] = json.loads(self._program.stdout.readline())
        return found

    def connect(self, said: bytes) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        client.sendall(said)
        return client

    def is_live(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/live", timeout=60) as answer:
            return bool(answer.status == 200)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    (port,) = free_ports(1)
    file = tmp_path / MODEL / "1" / "model.py"
    file.parent.mkdir(parents=True)
    file.write_text("read line\n")
    command = [sys.executable, "-m", "tests.unit.launcher.few_descriptors", str(port), str(file)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        supervisor = Supervisor(program, port)
        assert eventually(lambda: supervisor.does("update")["known"] == [MODEL])
        yield supervisor


def test_a_flooded_status_port_answers_and_no_model_is_called_dead(supervisor: Supervisor) -> None:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(supervisor.connect(b"GET /live"))
            assert supervisor.does("look")["dead"] == []
        assert supervisor.is_live()
        found = supervisor.does("update")
        assert (found["dead"], found["known"]) == ([], [MODEL])


def test_without_descriptors_a_model_is_not_called_dead_and_is_known_again_later(
    supervisor: Supervisor,
) -> None:
    assert supervisor.does("take")["dead"] == []
    assert supervisor.does("update")["dead"] == []
    supervisor.does("free")
    found = supervisor.does("update")
    assert (found["dead"], found["known"]) == ([], [MODEL])
    assert supervisor.does("kill")["dead"] == [MODEL]


def test_a_server_without_descriptors_pauses_before_it_accepts_again(
    supervisor: Supervisor,
) -> None:
    supervisor.does("take")
    with supervisor.connect(b"GET /live HTTP/1.0\r\n\r\n") as client:
        began = time.monotonic()
        first = supervisor.does("look")["attempts"]
        assert eventually(lambda: supervisor.does("look")["attempts"] >= first + 3)
        attempts = supervisor.does("look")["attempts"] - first
        assert attempts <= 1 + 20 * (time.monotonic() - began)
        supervisor.does("free")
        assert client.recv(12) == b"HTTP/1.0 200"


def test_a_process_may_have_any_name() -> None:
    program = (
        "import sys; open('/proc/self/comm', 'wb').write(b'\\xff) \\xc3'); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert runs(process.pid)
        assert group_members(process.pid) == [process.pid]
