"""Child processes that never outlive their purpose, and the traces they may leave."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_PR_SET_PDEATHSIG = 1


class ManagedProcess:
    """A child in a process group of its own, with its output in a file.

    Args:
        name: What to call it in messages.
        command: The program and its arguments.
        environment: Its environment.
        folder: Its working folder.
        log: The file that its output goes to.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def pid(self) -> int:
        """The process's id, which is also its group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How it ended, or `None`."""
        return self._process.poll()

    def stop(self, patience_seconds: float) -> None:
        """Asks it to end, and after a while makes it; its children end with it."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_seconds)
        kill_group(self.pid)
        self._process.wait()

    def last_lines(self, count: int = 15) -> str:
        """Returns the end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a launcher started, written down so that a later one can clean up after it.

    Attributes:
        launcher: The launcher's process id.
        started: When that process started, in clock ticks since the machine's boot: a process id
            alone may have been given to another process since.
        groups: The process groups it started.
        shared_memory_prefix: The names of the shared memory that its Triton makes begin so.
        gateway_url: Where its gateway listens.
    """

    launcher: int
    started: int
    groups: list[int]
    shared_memory_prefix: str
    gateway_url: str

    @property
    def launcher_runs(self) -> bool:
        """Whether the launcher still runs."""
        return process_start(self.launcher) == self.started

    def write(self, path: Path) -> None:
        """Writes the record."""
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(path: Path) -> RunRecord | None:
        """Reads a record, if there is a sound one."""
        try:
            return RunRecord(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def process_start(pid: int) -> int | None:
    """Returns when a process started, in clock ticks since boot, or `None` if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[19])  # field 22 of proc(5), counted from the one after the name


def kill_group(group: int) -> None:
    """Ends every process of a group at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def remove_shared_memory(prefix: str, patience_seconds: float = 2.0) -> None:
    """Removes shared memory that a Triton of ours left behind.

    Args:
        prefix: What the names begin with.
        patience_seconds: How long processes being killed may still hold on to it.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        for path in SHARED_MEMORY.glob(f"{prefix}*"):
            path.unlink(missing_ok=True)
        if not list(SHARED_MEMORY.glob(f"{prefix}*")) or time.monotonic() > deadline:
            return
        time.sleep(0.05)


def _die_with_parent() -> None:
    """Makes the kernel end the child when the launcher dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
