"""Computing outside the engine's thread without slowing the engine down, and naming threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_PR_SET_NAME = 15


def in_short_lived_thread(function: Callable[[], T]) -> T:
    """Calls a function in a thread that ends with the call, and returns the result.

    OpenMP keeps a team of workers for every living thread that has computed in parallel. With more
    workers than cores it puts all of them to sleep between two operations, and waking them up costs
    a quarter of an engine step: so no thread but the engine's may keep a team.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function).result()


def name_thread(name: str) -> None:
    """Gives the calling thread a name that `top -H` shows, where the system supports it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
