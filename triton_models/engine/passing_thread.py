"""Computing outside the engine's thread without slowing that down."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_passing_thread(function: Callable[[], T]) -> T:
    """Computes something in a thread that ends with it, and returns the result.

    OpenMP keeps a team of workers for every thread that has computed in parallel, as long as that
    lives. With more workers than cores it sends all of them to sleep between two operations, and to
    wake them up takes a step of the engine a quarter of its time: so no thread but the engine's may
    keep a team.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function).result()
