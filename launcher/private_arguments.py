"""Arguments of a child process that other users of the machine cannot read.

/proc/PID/cmdline, which `ps` shows, is readable by everybody, /proc/PID/environ only by the same
user. For a program that accepts a secret only as an argument, the secret is passed in its
environment: the child is traced, so that the kernel stops it before its first instruction, and the
argument pointers on its stack are redirected to strings of the environment. The command line only
ever has a placeholder.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

SHOWN = "(hidden)"
"""The placeholder of a private argument in the process list."""

_TRACE_ME, _DETACH = 0, 17
# The indices of proc(5)'s fields in /proc/[pid]/stat, counted from the one after the name.
_START_OF_STACK, _START_OF_ENVIRONMENT, _END_OF_ENVIRONMENT = 25, 47, 48
_WORD = struct.calcsize("P")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class PrivacyError(Exception):
    """This machine does not allow a process to trace its child."""


def variables(arguments: Sequence[str]) -> Mapping[str, str]:
    """Returns the environment variables that a child with private arguments needs."""
    return {_variable(index): argument for index, argument in enumerate(arguments)}


def trace_me() -> None:
    """Makes the kernel stop the calling process, a child before its exec, right after the exec.

    If tracing is not allowed, it is not stopped, which `pass_on` notices.
    """
    _libc.ptrace(_TRACE_ME, 0, None, None)


def pass_on(pid: int, arguments: Sequence[str]) -> None:
    """Passes private arguments to a child, and lets it run.

    Args:
        pid: The child, started by the calling thread. It has called `trace_me`, its last arguments
            are `SHOWN`, one for each private argument, and its environment has their `variables`.
        arguments: The private arguments.

    Raises:
        PrivacyError: It could not be traced, and runs with the placeholders.
    """
    if "\nTracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
        raise PrivacyError("the kernel does not allow a process to be traced by its parent")
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status) or os.WSTOPSIG(status) != signal.SIGTRAP:
        raise PrivacyError(f"the process did not stop before it ran (status {status})")
    try:
        _turn_pointers(pid, arguments)
    except OSError as error:
        raise PrivacyError(f"the memory of a child cannot be written ({error.strerror})") from error
    _libc.ptrace(_DETACH, pid, None, None)


def _turn_pointers(pid: int, arguments: Sequence[str]) -> None:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    stack, start, end = (
        int(fields[index])
        for index in (_START_OF_STACK, _START_OF_ENVIRONMENT, _END_OF_ENVIRONMENT)
    )
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(start)
        environment = b"\0" + memory.read(end - start)
        # The stack begins with the number of arguments and a pointer to each.
        memory.seek(stack)
        (count,) = struct.unpack("P", memory.read(_WORD))
        for index, argument in enumerate(arguments):
            name = f"{_variable(index)}=".encode()
            place = environment.index(b"\0" + name + argument.encode() + b"\0")
            memory.seek(stack + _WORD * (1 + count - len(arguments) + index))
            memory.write(struct.pack("P", start + place + len(name)))


def _variable(index: int) -> str:
    return f"PRIVATE_ARGUMENT_{index}"
