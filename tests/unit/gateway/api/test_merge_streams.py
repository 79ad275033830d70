"""Several sources in one: read at once, closed together."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator

import pytest

from gateway.api.merge_streams import merged
from tests.unit.gateway.scripted_generation import all_wait


async def counting(name: str, count: int, closed: list[str]) -> AsyncGenerator[str, None]:
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield f"{name}{number}"
    finally:
        closed.append(name)


async def test_sources_are_read_at_once_and_each_in_its_order() -> None:
    first_came = asyncio.Event()

    async def waiting() -> AsyncGenerator[str, None]:
        await first_came.wait()
        yield "b0"

    items = []
    async for item in merged([waiting(), counting("a", 3, [])]):
        items.append(item)
        first_came.set()
    assert sorted(items) == ["a0", "a1", "a2", "b0"]
    assert [item for item in items if item[0] == "a"] == ["a0", "a1", "a2"]


async def test_a_slow_reader_makes_nothing_pile_up() -> None:
    yielded = 0

    async def eager() -> AsyncGenerator[int, None]:
        nonlocal yielded
        while True:
            yielded += 1
            yield yielded

    both = merged([eager(), eager()])
    await anext(both)
    await all_wait()
    assert yielded < 6
    await both.aclose()


async def test_whoever_stops_reading_closes_all_sources() -> None:
    closed: list[str] = []
    both = merged([counting("a", 9, closed), counting("b", 9, closed)])
    await anext(both)
    await both.aclose()
    assert sorted(closed) == ["a", "b"]


async def test_a_defect_in_one_source_is_raised_and_closes_the_others() -> None:
    closed: list[str] = []

    async def broken() -> AsyncGenerator[str, None]:
        yield "x"
        raise RuntimeError("defect")

    with pytest.raises(RuntimeError, match="defect"):
        _ = [item async for item in merged([broken(), counting("a", sys.maxsize, closed)])]
    assert closed == ["a"]
