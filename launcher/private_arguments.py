"""Arguments of a child that no other user of the machine can read.

/proc/PID/cmdline, which `ps` shows, is readable for everybody, and /proc/PID/environ for the same
user only. A program that takes a secret as an argument and in no other way is given one here that
lies in its environment: the kernel stops the child before its first instruction, which is when a
tracer gets hold of it, and the pointers to the arguments, which lie on its stack, are turned to
strings of the environment. The command line never holds more than a word in their stead.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

SHOWN = "(hidden)"
"""What stands in the list of processes for a private argument."""

_TRACE_ME, _DETACH = 0, 17
# Where proc(5)'s fields stand in /proc/[pid]/stat, counted from the one after the name.
_START_OF_STACK, _START_OF_ENVIRONMENT, _END_OF_ENVIRONMENT = 25, 47, 48
_WORD = struct.calcsize("P")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class PrivacyError(Exception):
    """This machine does not let a process trace its own child."""


def variables(arguments: Sequence[str]) -> Mapping[str, str]:
    """Returns the variables that a child with private arguments has to be started with."""
    return {_variable(index): argument for index, argument in enumerate(arguments)}


def trace_me() -> None:
    """Makes the kernel stop the calling process, a child before its exec, right after that.

    Where it may not be traced, it is not stopped, which `pass_on` notices.
    """
    _libc.ptrace(_TRACE_ME, 0, None, None)


def pass_on(pid: int, arguments: Sequence[str]) -> None:
    """Gives a child its private arguments, and lets it run.

    Args:
        pid: The child, which has called `trace_me` and has `SHOWN` as often at the end of its
            arguments, and the arguments' `variables` in its environment. It was started by the
            calling thread.
        arguments: The private arguments.

    Raises:
        PrivacyError: It could not be traced, and runs with arguments that it cannot make use of.
    """
    if "\nTracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
        raise PrivacyError("the kernel refuses to let a process be traced by its parent")
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
        # The stack begins with the number of arguments, and a pointer to each.
        memory.seek(stack)
        (count,) = struct.unpack("P", memory.read(_WORD))
        for index, argument in enumerate(arguments):
            name = f"{_variable(index)}=".encode()
            place = environment.index(b"\0" + name + argument.encode() + b"\0")
            memory.seek(stack + _WORD * (1 + count - len(arguments) + index))
            memory.write(struct.pack("P", start + place + len(name)))


def _variable(index: int) -> str:
    return f"PRIVATE_ARGUMENT_{index}"
