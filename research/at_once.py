"""Doing several things at a time, and stopping at once: on Ctrl-C, and when one of them fails."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_at_once(
    function: Callable[[T, threading.Event], R], items: Sequence[T], concurrency: int
) -> list[R]:
    """Returns what a function makes of each item, in the items' order.

    The function is given an event, too: once it is set the result is not wanted any more. Nothing
    waits for it then, neither here nor when the program ends: an answer may take minutes.

    Args:
        function: What to do; it runs in other threads.
        items: What to do it with.
        concurrency: The most items at a time.

    Raises:
        Exception: What the function raised first.
    """
    waiting = queue.SimpleQueue[tuple[int, T]]()
    done = queue.SimpleQueue[tuple[int, R | BaseException, bool]]()
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            try:
                index, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((index, function(item, stopped), True))
            except BaseException as error:
                done.put((index, error, False))

    for each in enumerate(items):
        waiting.put(each)
    for _ in range(min(concurrency, len(items))):
        threading.Thread(target=work, name="at once", daemon=True).start()
    results: dict[int, R] = {}
    try:
        while len(results) < len(items):
            index, result, succeeded = done.get()
            if isinstance(result, BaseException) and not succeeded:
                raise result
            results[index] = result  # type: ignore[assignment]
    finally:
        stopped.set()
    return [results[index] for index in range(len(items))]
