"""A stack that is looked after, as `python -m launcher` does it, for a part of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launcher.stack import Stack
from launcher.supervisor import TICK_SECONDS


@contextmanager
def supervised(*stacks: Stack) -> Iterator[None]:
    """Looks after stacks until the end.

    Args:
        *stacks: Running ones, which only this thread of its own touches meanwhile.
    """
    ended = threading.Event()

    def look_after(stack: Stack) -> None:
        while not ended.wait(TICK_SECONDS):
            stack.tick()

    threads = [threading.Thread(target=look_after, args=(stack,)) for stack in stacks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
