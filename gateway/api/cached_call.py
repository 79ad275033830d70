"""A value that is costly to ask for, asked for once and shared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class CachedCall(Generic[T]):
    """Remembers the outcome of a call, error or not, for `max_age` seconds.

    Callers that come while the call is under way wait for that one, so that neither a crowd nor a
    hanging server makes calls pile up.
    """

    def __init__(self, fetch: Callable[[], Coroutine[Any, Any, T]], max_age: float) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._task: asyncio.Task[T] | None = None
        self._done_at = 0.0

    async def get(self) -> T:
        """Returns the value, or raises what the call raised."""
        task = self._task
        if task is None or (task.done() and self._age() >= self._max_age):
            task = self._task = asyncio.create_task(self._fetch())
            task.add_done_callback(self._note)
        # One caller that gives up must not take the call away from the others.
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Makes the next caller ask again, since what is remembered is known to be old."""
        self._task = None

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._done_at

    def _note(self, task: asyncio.Task[T]) -> None:
        self._done_at = asyncio.get_running_loop().time()
        if task.cancelled():
            self._task = None
        else:
            task.exception()  # marks it as seen, should nobody be waiting any more
