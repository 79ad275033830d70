"""An engine that stands still for as long as a test wants, in the real server.

Tests of a busy, full or slow server would otherwise hope that requests come faster than the engine
answers them. The engine's thread is stopped with ptrace(2), so no production code knows of it: a
breakpoint stands where each forward pass begins, in libtorch's lookup of the tokens' embeddings.
There the thread holds neither Python's global lock nor any other, so the process's other threads go
on taking, refusing and cancelling requests; and it gets there by itself, so it does not matter how
late a test looks. The server is a descendant of pytest and its user's own, so this needs no
privileges, not even where Yama restricts ptrace to descendants.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.soak.processes import descendants
from launcher.processes import ManagedProcess, model_of_stub
from launcher.stack import Stack
from launcher.status import SERVING
from tests.e2e.triton_call import describe
from tests.e2e.waiting import PATIENCE_SECONDS, eventually

THREAD = "engine"
LIBRARY = Path(torch.__file__).parent / "lib/libtorch_cpu.so"
PASS_BEGINS = "_ZN2at4_ops9embedding4callERKNS_6TensorES4_N3c106SymIntEbb"
"""at::_ops::embedding::call: what every forward pass of the engine begins with, and nothing else of
the process calls."""

BEGINNING = 4
"""So many passes show the beginning of an answer, if its prompt is a short one."""

Piece = TypeVar("Piece")

_CONT, _SINGLESTEP, _DETACH, _SEIZE, _INTERRUPT = 7, 9, 17, 0x4206, 0x4207
_PEEKTEXT, _POKETEXT, _PEEKUSER, _POKEUSER = 1, 4, 3, 6
_O_EXITKILL = 1 << 20  # a server with a breakpoint left in it would die at it anyway
_WALL = 0x40000000
_RIP = 16 * 8  # where x86-64's user_regs_struct has the instruction pointer
_INT3 = 0xCC

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


class HeldEngine:
    """The thread of an engine, which goes on only when told to.

    Only the thread of the test that made it may use it: ptrace knows no other.

    Args:
        thread: Its id.
    """

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._place = place_of(thread)
        self._stands = False
        self._ptrace(_SEIZE, 0, _O_EXITKILL)
        self._interrupt()
        self._code = self._ptrace(_PEEKTEXT, self._place)
        self._break()
        self._ptrace(_CONT)

    def steps(self, count: int) -> None:
        """Lets it make some forward passes, and returns when it stands before another one.

        Args:
            count: How many; with 0 it is only waited for.
        """
        self._await()
        for _ in range(count):
            self._go_on()
            self._await()

    def goes_on(self) -> None:
        """Lets it make a forward pass if it stands before one."""
        if self._reaches():
            self._go_on()

    def goes_on_until(self, condition: Callable[[], bool], passes: int = 500) -> bool:
        """Returns whether something happens while it goes on slowly.

        What the engine does between two passes comes of that: it takes and cancels requests there.

        Args:
            condition: Whether it has happened.
            passes: The most passes meanwhile; they are spread over all the time there is.
        """
        pause = PATIENCE_SECONDS / passes
        for _ in range(passes):
            if not eventually(lambda: self._reaches() or condition()):
                return False
            if eventually(condition, pause):
                return True
            self.goes_on()
        return condition()

    def let_go(self) -> None:
        """Lets it run freely, for good."""
        with suppress(ProcessLookupError, ChildProcessError):  # its process may have been killed
            if not self._reaches():
                self._interrupt()
            self._mend()
            self._ptrace(_DETACH)

    def _await(self) -> None:
        assert eventually(self._reaches, PATIENCE_SECONDS), "the engine makes no forward pass"

    def _reaches(self) -> bool:
        """Whether it stands before a forward pass."""
        while not self._stands and (stop := self._stop(os.WNOHANG)):
            if self._at_breakpoint(stop):
                self._ptrace(_POKEUSER, _RIP, self._place)
                self._stands = True
            else:
                self._ptrace(_CONT, 0, stop & 0xFF if stop < 0x100 else 0)
        return self._stands

    def _go_on(self) -> None:
        """Lets it go past the breakpoint that it stands at, and leaves that where it is."""
        self._mend()
        self._ptrace(_SINGLESTEP)
        while self._stop() != signal.SIGTRAP:
            self._ptrace(_SINGLESTEP)
        self._break()
        self._stands = False
        self._ptrace(_CONT)

    def _interrupt(self) -> None:
        """Stops it wherever it is."""
        self._ptrace(_INTERRUPT)
        if self._at_breakpoint(self._stop()):
            self._ptrace(_POKEUSER, _RIP, self._place)

    def _at_breakpoint(self, stop: int) -> bool:
        return stop == signal.SIGTRAP and self._ptrace(_PEEKUSER, _RIP) == self._place + 1

    def _break(self) -> None:
        self._ptrace(_POKETEXT, self._place, self._code & ~0xFF | _INT3)

    def _mend(self) -> None:
        self._ptrace(_POKETEXT, self._place, self._code)

    def _stop(self, options: int = 0) -> int:
        """Returns how it stopped, a signal or more than that, and with WNOHANG 0 if it has not."""
        pid, status = os.waitpid(self._thread, _WALL | options)
        if pid and not os.WIFSTOPPED(status):
            raise ProcessLookupError("the engine's process has ended")
        return status >> 8 if pid else 0

    def _ptrace(self, request: int, address: int = 0, data: int = 0) -> int:
        ctypes.set_errno(0)
        result = int(_libc.ptrace(request, self._thread, address, data & (1 << 64) - 1))
        if result == -1 and ctypes.get_errno():
            raise OSError(ctypes.get_errno(), f"ptrace {request}")
        return result


@contextmanager
def held_engine(triton: ManagedProcess | None) -> Iterator[HeldEngine]:
    """Lets an engine begin no forward pass, unless told to, until the end.

    Args:
        triton: Its server.
    """
    assert triton
    (pid,) = stubs_of(triton, "steered_qwen")
    engine = HeldEngine(thread_of(pid))
    try:
        yield engine
    finally:
        engine.let_go()


def pieces_of(triton: ManagedProcess | None, stream: Callable[[], Iterable[Piece]]) -> list[Piece]:
    """Returns the pieces of an answer, the first of which came before the others were computed.

    Without that a machine that is slow at sending may join them all.

    Args:
        triton: The server.
        stream: Asks for the answer.
    """
    pieces: list[Piece] = []

    def read_one_by_one() -> None:
        for piece in stream():
            pieces.append(piece)  # another thread looks at it meanwhile

    with ThreadPoolExecutor(1) as pool:
        with held_engine(triton) as engine:
            reading = pool.submit(read_one_by_one)
            engine.steps(BEGINNING)
            assert eventually(lambda: bool(pieces))
        reading.result()
    return pieces


def num_open(address: str) -> int:
    """Returns how many requests an engine has taken and not finished.

    Args:
        address: Its Triton's gRPC address.
    """
    engine = describe(address)["engine"]
    return int(engine["running"] + engine["waiting"])


def num_taken(address: str) -> int:
    """Returns how many requests an engine has ever taken.

    Args:
        address: Its Triton's gRPC address.
    """
    engine = describe(address)["engine"]
    ended = engine["finished"] + engine["cancelled"] + engine["failed"]
    return int(ended + engine["running"] + engine["waiting"])


def num_cancelled(address: str) -> int:
    """Returns how many requests an engine has cancelled.

    Args:
        address: Its Triton's gRPC address.
    """
    return int(describe(address)["engine"]["cancelled"])


def is_repaired(stack: Stack) -> bool:
    """Whether a model was loaded again; at times its death takes Triton 2.51 itself along."""
    snapshot = stack.status.snapshot()
    return stack.status.state in SERVING and snapshot.reloads + snapshot.restarts > 0


def stubs_of(triton: ManagedProcess, model: str) -> list[int]:
    """Returns the processes of a model's instances.

    Args:
        triton: The server, or the container that it runs in.
        model: The model.
    """
    pids = [process.pid for process in descendants(triton.pid)]
    return [pid for pid in pids if model_of_stub(pid) == model]


def thread_of(pid: int) -> int:
    """Returns a process's thread of the engine: the first of its name, which its own inherit."""
    names = {path: path.read_text().strip() for path in Path(f"/proc/{pid}/task").glob("*/comm")}
    return min(int(path.parent.name) for path, name in names.items() if name == THREAD)


def place_of(pid: int) -> int:
    """Returns where a process has the function that forward passes begin with."""
    function = getattr(ctypes.CDLL(str(LIBRARY)), PASS_BEGINS)
    here = ctypes.cast(function, ctypes.c_void_p).value or 0
    return here - base_of(os.getpid()) + base_of(pid)


def base_of(pid: int) -> int:
    """Returns where a process has libtorch."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return min(int(line.partition("-")[0], 16) for line in maps if line.endswith(LIBRARY.name))
