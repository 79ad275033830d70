"""Several asynchronous generators, read at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")


async def merged(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """Yields what the sources yield, as it comes; all of them are closed when it is.

    The sources wait for the reader: a slow one makes nothing pile up here.

    Raises:
        Exception: What one of the sources raised; the others are closed.
    """
    queue: asyncio.Queue[tuple[T] | Exception | None] = asyncio.Queue(maxsize=1)
    # The queue alone would let a source that always has something overtake those that wait.
    turn = asyncio.Lock()

    async def put(news: tuple[T] | Exception | None) -> None:
        async with turn:
            await queue.put(news)

    tasks = [asyncio.create_task(_pump(source, put)) for source in sources]
    open_sources = len(tasks)
    try:
        while open_sources:
            news = await queue.get()
            if isinstance(news, Exception):
                raise news
            if news is None:
                open_sources -= 1
            else:
                yield news[0]
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _pump(
    source: AsyncGenerator[T, None], put: Callable[[tuple[T] | Exception | None], Awaitable[None]]
) -> None:
    """Puts what a source yields, then what it raised or `None`."""
    try:
        async with aclosing(source):
            async for item in source:
                await put((item,))
    except Exception as error:
        await put(error)
    else:
        await put(None)
