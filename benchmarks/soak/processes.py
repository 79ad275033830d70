"""The running processes and what each holds, as the kernel reports it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

# Where proc(5)'s fields stand in /proc/[pid]/stat, counted from the one after the name.
_STATE, _PARENT, _START = 0, 1, 19
_STUB_PROGRAM = "triton_python_backend_stub"

TRITON = "tritonserver"
"""The role of Triton itself."""

STEP = "stub of "
"""What the roles of the steps' processes begin with."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told from a later one of the same id by its start, in clock ticks since boot."""

    pid: int
    start: int
    command: tuple[str, ...] = field(compare=False)
    parent: int = field(compare=False)
    role: str = field(default="", compare=False)

    @property
    def alive(self) -> bool:
        """Whether it runs, and its id is not another's."""
        return _read(self.pid) == self

    def kill(self) -> None:
        """Kills it, unless it has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a process holds; of its bytes of memory, `proportional` has shared ones divided."""

    resident: int
    proportional: int
    descriptors: int
    threads: int


def descendants(root: int) -> list[Process]:
    """Returns a process and all below it that have not ended."""
    found = (_read(int(folder.name)) for folder in Path("/proc").glob("[0-9]*"))
    running = [process for process in found if process]
    family = {root}
    while True:
        more = {each.pid for each in running if each.parent in family} - family
        if not more:
            return [each for each in running if each.pid in family]
        family |= more


def role_of(process: Process, prefix: str) -> Process:
    """Returns a process with its role; the prefix comes before those of gateways."""
    return replace(process, role=_role(process.command, prefix))


def _role(words: Sequence[str], prefix: str) -> str:
    program = Path(words[0]).name if words else ""
    if _STUB_PROGRAM in program:
        model = next((Path(word).parts[-3] for word in words if word.endswith("model.py")), "?")
        return f"{STEP}{model}"
    if program == TRITON:
        return TRITON
    if any("spawn_main" in word for word in words):
        return f"{prefix}gateway's worker"
    module = words[words.index("-m") + 1] if "-m" in words else ""
    return {"launcher": "supervisor", "gateway": f"{prefix}gateway"}.get(module, "")


def holding(process: Process) -> Holding | None:
    """Returns what a process holds, or `None` if it has ended."""
    folder = Path(f"/proc/{process.pid}")
    try:
        rollup = _fields(folder / "smaps_rollup")
        return Holding(
            rollup["Rss"] * 1024,
            rollup["Pss"] * 1024,
            len(os.listdir(folder / "fd")),
            _fields(folder / "status")["Threads"],
        )
    except (OSError, KeyError):
        return None


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Files in /dev/shm, through which Triton and its models talk, and their bytes in use."""

    files: int
    size: int


def shared_memory(pattern: str) -> SharedMemory:
    """Returns what there is of shared memory under such names."""
    count = size = 0
    for path in Path("/dev/shm").glob(pattern):
        with contextlib.suppress(OSError):
            size += path.stat().st_blocks * 512
            count += 1
    return SharedMemory(count, size)


def _read(pid: int) -> Process | None:
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    if fields[_STATE] in "ZX":
        return None
    return Process(pid, int(fields[_START]), tuple(command[:-1]), int(fields[_PARENT]))


def _fields(path: Path) -> dict[str, int]:
    """Returns the numbers of a file of lines such as `Pss: 12 kB`."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        number = value.split()[0] if value.split() else ""
        if number.isdecimal():
            found[name] = int(number)
    return found
