"""Child processes that never outlive their purpose, and the traces they may leave."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from launcher import private_arguments

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "persona_"
"""What the names of all shared memory begin with that a launcher's Triton makes."""

_STUB = re.compile(r"[^\0]*triton_python_backend_stub\0[^\0]*/(?P<model>\w+)/\d+/model\.py\0")
"""How Triton's Python backend starts the process of a model."""

_PR_SET_PDEATHSIG = 1
# Where proc(5)'s fields stand in /proc/[pid]/stat, counted from the one after the name.
_STATE, _GROUP, _START_TIME = 0, 2, 19


class ManagedProcess:
    """A child in a process group of its own, with its output in a file.

    Args:
        name: What to call it in messages.
        command: The program and its arguments.
        environment: Its environment.
        log: The file that its output goes to; `None` if it goes where this process's own does.
        private: More arguments, which other users of the machine cannot read.

    Raises:
        PrivacyError: This machine cannot keep arguments private.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path | None,
        private: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") if log else contextlib.nullcontext() as output:
            self._process = subprocess.Popen(
                [*command, *(private_arguments.SHOWN for _ in private)],
                env={**environment, **private_arguments.variables(private)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                start_new_session=True,
                preexec_fn=_die_with_parent_and_be_traced if private else _die_with_parent,
            )
        if private:
            try:
                private_arguments.pass_on(self.pid, private)
            except BaseException:
                self.stop(patience_seconds=0)
                raise

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

    @property
    def output(self) -> str:
        """What it has written so far, `""` if that goes to no file."""
        return self.log.read_text(errors="replace") if self.log else ""

    def last_lines(self, count: int = 15) -> str:
        """Returns the end of its output."""
        return "\n".join(self.output.splitlines()[-count:])


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a launcher started, written down so that a later one can clean up after it.

    Attributes:
        launcher: The launcher's process id, and when it started.
        leaders: The leader of each process group it started, and when that started.
        shared_memory_prefix: The names of the shared memory that its Triton makes begin so.
        gateway_url: Where its gateway listens.

    The starts are in clock ticks since the machine's boot: a process id alone may have been given
    to another process since.
    """

    launcher: tuple[int, int]
    leaders: list[tuple[int, int]]
    shared_memory_prefix: str
    gateway_url: str

    @property
    def launcher_runs(self) -> bool:
        """Whether the launcher still runs."""
        pid, start = self.launcher
        return process_start(pid) == start

    def clean_up(self) -> None:
        """Ends what a launcher that was killed left running, and nothing else.

        A group is ours if its leader is. Of a group whose leader has gone, those are ours that name
        our shared memory, as Triton's Python stubs do.
        """
        for pid, start in self.leaders:
            if process_start(pid) == start:
                kill_group(pid)
                continue
            for member in group_members(pid):
                if self.shared_memory_prefix in command_line(member):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(member, signal.SIGKILL)
        remove_shared_memory(self.shared_memory_prefix)

    def write(self, path: Path) -> None:
        """Writes the record."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(path)

    @staticmethod
    def read(path: Path) -> RunRecord | None:
        """Reads a record, if there is a sound one."""
        try:
            fields = json.loads(path.read_text())
            record = RunRecord(
                launcher=_pair(fields["launcher"]),
                leaders=[_pair(leader) for leader in fields["leaders"]],
                shared_memory_prefix=str(fields["shared_memory_prefix"]),
                gateway_url=str(fields["gateway_url"]),
            )
        except (OSError, ValueError, TypeError, LookupError):
            return None
        return record if record.shared_memory_prefix.startswith(PREFIX) else None


def process_start(pid: int) -> int | None:
    """Returns when a process started, in clock ticks since boot, or `None` if there is none."""
    fields = _stat(pid)
    return int(fields[_START_TIME]) if fields else None


def runs(pid: int) -> bool:
    """Whether a process has not ended (zombies have)."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] not in "ZX"


def group_members(group: int) -> list[int]:
    """Returns the processes of a group that have not ended (zombies have)."""
    members = []
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields and int(fields[_GROUP]) == group and fields[_STATE] not in "ZX":
            members.append(int(folder.name))
    return members


def stub_models(group: int) -> dict[int, str]:
    """Returns the models whose Python processes a Triton has, by process.

    Args:
        group: Triton's process group.
    """
    members = {pid: model_of_stub(pid) for pid in group_members(group)}
    return {pid: model for pid, model in members.items() if model is not None}


def model_of_stub(pid: int) -> str | None:
    """Returns the model that a process is the Python process of, `None` for others."""
    found = _STUB.match(command_line(pid))
    return found["model"] if found else None


def kill_group(group: int, patience_seconds: float = 10.0) -> None:
    """Ends every process of a group, and waits until the kernel has taken back what they held."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + patience_seconds
    while group_members(group) and time.monotonic() < deadline:
        time.sleep(0.02)


def hide_shared_memory(prefix: str) -> None:
    """Takes everybody else's rights to shared memory, through which prompts and answers pass.

    Triton's Python backend makes it readable for all, whatever the umask, for each model that it
    loads.

    Args:
        prefix: What the names begin with.
    """
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        # Its model may have been unloaded since; and everybody may put files, and links, there.
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(file)
                if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                    os.fchmod(file, 0o600)
            finally:
                os.close(file)


def remove_unused_shared_memory(prefix: str, group: int) -> None:
    """Removes shared memory that a killed Python process of a running Triton left behind.

    Triton gives the model that it loads again another file.

    Args:
        prefix: What the names begin with.
        group: Triton's process group; no model of it may be loading.
    """
    commands = [command_line(pid) for pid in group_members(group)]
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        if not any(path.name in command for command in commands):
            path.unlink(missing_ok=True)


def remove_shared_memory(prefix: str) -> None:
    """Removes shared memory that a Triton of ours, now ended, left behind.

    Args:
        prefix: What the names begin with.
    """
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    pid, start = values
    return int(pid), int(start)


def command_line(pid: int) -> str:
    """Returns a process's arguments, each ended by a zero byte; `""` if there is no process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of /proc/[pid]/stat after the name, or `None` if there is no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _die_with_parent() -> None:
    """Makes the kernel end the child when the launcher dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _die_with_parent_and_be_traced() -> None:
    _die_with_parent()
    private_arguments.trace_me()
