"""A supervisor's view of one model with 64 file descriptors, as a program that does what it reads.

python -m tests.unit.launcher.few_descriptors PORT MODEL_FILE
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, cast

from launcher.processes import ManagedProcess
from launcher.settings import StackSettings
from launcher.status import StatusServer, SupervisorStatus
from launcher.triton_process import TritonProcess

DESCRIPTORS = 64


@dataclass(frozen=True)
class Triton:
    """What stands for Triton's process: its group."""

    pid: int


def take_all() -> list[int]:
    """Takes all descriptors that are left."""
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            return taken


def main(port: int, model_file: str) -> None:
    """Answers each line of its input with one of JSON."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    attempts = 0
    accept = socket.socket.accept

    def counted(listener: socket.socket) -> tuple[socket.socket, Any]:
        nonlocal attempts
        attempts += 1
        return accept(listener)

    cast(Any, socket.socket).accept = counted
    # Its command line is that of a model's process.
    stub = subprocess.Popen(
        ["triton_python_backend_stub", model_file],
        executable="/bin/sh",
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    server = TritonProcess(StackSettings(), {}, "persona_test_few_", "k" * 40, "", (), print)
    server.process = cast(ManagedProcess, Triton(stub.pid))
    server.update_stubs()
    StatusServer("127.0.0.1", port, SupervisorStatus())
    taken: list[int] = []
    for line in sys.stdin:
        if line == "take\n":
            taken = take_all()
        elif line == "free\n":
            while taken:
                os.close(taken.pop())
        elif line == "kill\n":
            stub.kill()
            os.waitid(os.P_PID, stub.pid, os.WEXITED | os.WNOWAIT)
        dead = server.dead_models()
        if line == "update\n":
            server.update_stubs()
        found = {
            "dead": dead,
            "known": sorted(server._stubs.values()),
            "attempts": attempts,
        }
        print(json.dumps(found), flush=True)
    stub.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
