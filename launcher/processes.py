"""Child processes that never outlive their parent, and cleanup of what they leave behind.

Whatever looks at a process raises `OSError` if the system does not say, for example without free
file descriptors: that is no sign of the process's end.
"""

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

# gRPC's own thread would go on in a child between fork and exec, and end it when its files are
# closed: https://github.com/grpc/grpc/issues/43055. Read when grpc is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

SHARED_MEMORY = Path("/dev/shm")
PREFIX = "persona_"
"""The prefix of the names of all shared memory of a launcher's Triton."""

_STUB = re.compile(r"[^\0]*triton_python_backend_stub\0[^\0]*/(?P<model>\w+)/\d+/model\.py\0")
"""The command line of a model's process, as Triton's Python backend starts it."""

_PR_SET_PDEATHSIG = 1
# The indices of proc(5)'s fields in /proc/[pid]/stat, counted from the one after the name.
_STATE, _GROUP, _START_TIME = 0, 2, 19


class ManagedProcess:
    """A child in its own process group, with its output in a file.

    The kernel terminates it when the thread that made it ends.

    Args:
        log: The file for its output; `None` if it inherits this process's output.
        private: Additional arguments, which other users of the machine cannot read.

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
        """Its process id, which is also that of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Its exit status, `None` while it runs."""
        return self._process.poll()

    def stop(self, patience_seconds: float) -> None:
        """Terminates it, and kills it with its children after `patience_seconds`."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_seconds)
        kill_group(self.pid)
        self._process.wait()

    @property
    def output(self) -> str:
        """Its output so far, `""` if it has no file."""
        return self.log.read_text(errors="replace") if self.log else ""

    def last_lines(self, count: int = 15) -> str:
        """Returns the end of its output."""
        return "\n".join(self.output.splitlines()[-count:])


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A record of what a launcher started, so that a later one can clean up after it.

    Start times are in clock ticks since boot: a process id alone may have been reused.

    Attributes:
        launcher: The launcher's process id and start time.
        leaders: The process id and start time of the leader of each process group it started.
    """

    launcher: tuple[int, int]
    leaders: list[tuple[int, int]]
    shared_memory_prefix: str
    gateway_url: str

    @property
    def launcher_runs(self) -> bool:
        """Whether the launcher is still running."""
        pid, start = self.launcher
        return process_start(pid) == start

    def clean_up(self) -> None:
        """Kills the processes that a killed launcher left behind, and no others.

        A group belongs to it if its leader does. In a group whose leader has ended, those processes
        belong to it that name its shared memory, as Triton's Python stubs do.
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
        """Reads a record, `None` if there is no valid one."""
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
    """Returns a process's start time in clock ticks since boot, `None` if it does not exist."""
    fields = _stat(pid)
    return int(fields[_START_TIME]) if fields else None


def runs(pid: int) -> bool:
    """Whether a process has not ended (zombies have)."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] not in "ZX"


def group_members(group: int) -> list[int]:
    """Returns the processes of a group that have not ended (zombies have)."""
    members = []
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdecimal() else None
        if fields and int(fields[_GROUP]) == group and fields[_STATE] not in "ZX":
            members.append(int(name))
    return members


def stub_models(group: int) -> dict[int, str]:
    """Returns the models of a Triton's Python processes, by process id."""
    members = {pid: model_of_stub(pid) for pid in group_members(group)}
    return {pid: model for pid, model in members.items() if model is not None}


def model_of_stub(pid: int) -> str | None:
    """Returns the model of a Python process of Triton, `None` for other processes."""
    found = _STUB.match(command_line(pid))
    return found["model"] if found else None


def kill_group(group: int, patience_seconds: float = 10.0) -> None:
    """Kills every process of a group, and waits until the kernel has freed their resources."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # it is unknown: look again
            if not group_members(group):
                return
        time.sleep(0.02)


def hide_shared_memory(prefix: str) -> None:
    """Makes shared memory, through which prompts and answers pass, private to its owner.

    Triton's Python backend makes that of each model readable for everybody, whatever the umask.
    """
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        # Its model may have been unloaded since; and everybody can create files and links there.
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(file)
                if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                    os.fchmod(file, 0o600)
            finally:
                os.close(file)


def remove_shared_memory(prefix: str, group: int | None = None) -> None:
    """Removes shared memory that a Triton, or a killed Python process of one, left behind.

    Args:
        prefix: The prefix of the names.
        group: The process group of a Triton that runs, whose shared memory in use stays; none of
            its models may be loading. A reloaded model gets a new file.

    Raises:
        OSError: It is unknown what is used, or a file cannot be removed.
    """
    commands = [command_line(pid) for pid in group_members(group)] if group else []
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        if not any(path.name in command for command in commands):
            path.unlink(missing_ok=True)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    pid, start = values
    return int(pid), int(start)


def command_line(pid: int) -> str:
    """Returns a process's arguments, each followed by a zero byte; `""` if it does not exist."""
    return _read(pid, "cmdline") or ""


def _stat(pid: int) -> list[str] | None:
    """Returns the fields of /proc/[pid]/stat after the name, `None` if it does not exist."""
    text = _read(pid, "stat")
    return text.rpartition(")")[2].split() if text is not None else None


def _read(pid: int, name: str) -> str | None:
    """Returns a file of /proc/[pid], `None` if the process does not exist.

    Raises:
        OSError: It cannot be read for another reason, which says nothing about the process.
    """
    try:
        # A process can have any bytes as its name.
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        # /proc may hide other users' processes (hidepid); a launcher's own are never among them.
        return None


def _die_with_parent() -> None:
    """Makes the kernel terminate the child when the launcher dies, even by SIGKILL."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _die_with_parent_and_be_traced() -> None:
    _die_with_parent()
    private_arguments.trace_me()
