"""Event streams without comments, for clients that take each line for data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from gateway.http.server_sent_events import EventStream
from gateway.settings import Settings


def num_beating() -> int:
    """Returns how many tasks of the loop send comments."""
    return sum("EventStream._beat" in repr(task.get_coro()) for task in asyncio.all_tasks())


@pytest.mark.parametrize(("interval", "tasks"), [("0", 0), ("15", 1)])
async def test_an_interval_of_zero_sends_no_comments(interval: str, tasks: int) -> None:
    seen = []

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"one"
        seen.append(num_beating())

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        pass

    settings = Settings.read({"HEARTBEAT_INTERVAL": interval})
    stream = EventStream(events(), settings.heartbeat_interval, last_words=lambda _: b"bye")
    await stream({"type": "http"}, receive, send)
    assert seen == [tasks]
