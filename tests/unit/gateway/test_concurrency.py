"""Sharing a call, and giving work up when its client has gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.api.cached_call import CachedCall
from gateway.http.client_disconnect import ClientGoneError, run_until_disconnect


async def test_callers_at_the_same_time_share_one_call() -> None:
    calls = 0

    async def fetch() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return calls

    cached = CachedCall(fetch, max_age=60)
    assert await asyncio.gather(*(cached.get() for _ in range(5))) == [1] * 5
    assert await cached.get() == 1


async def test_an_old_outcome_is_asked_for_again() -> None:
    calls = 0

    async def fetch() -> int:
        nonlocal calls
        calls += 1
        return calls

    cached = CachedCall(fetch, max_age=0)
    assert [await cached.get(), await cached.get()] == [1, 2]


async def test_errors_are_remembered_as_well() -> None:
    calls = 0

    async def fetch() -> int:
        nonlocal calls
        calls += 1
        raise ValueError("no")

    cached = CachedCall(fetch, max_age=60)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            await cached.get()
    assert calls == 1


async def test_a_caller_that_gives_up_leaves_the_call_to_the_others() -> None:
    async def fetch() -> str:
        await asyncio.sleep(0.02)
        return "value"

    cached = CachedCall(fetch, max_age=60)
    impatient = asyncio.create_task(cached.get())
    patient = asyncio.create_task(cached.get())
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "value"


class Connection:
    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_work_for_a_client_that_stays_is_done() -> None:
    async def work() -> int:
        return 42

    assert await run_until_disconnect(Connection().receive, work()) == 42


async def test_work_for_a_client_that_goes_is_cancelled_to_its_end() -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned = True

    connection = Connection()
    asyncio.get_running_loop().call_later(0.02, connection.gone.set)
    with pytest.raises(ClientGoneError):
        await run_until_disconnect(connection.receive, work())
    assert cleaned
