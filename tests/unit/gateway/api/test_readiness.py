"""Readiness follows whoever looks, at once, and asks only where nobody does."""

from __future__ import annotations

import pytest

from gateway.api.readiness import Readiness
from gateway.errors import UnreachableError
from gateway.observability.metrics import GatewayMetrics


async def test_a_server_that_is_seen_at_work_is_believed_over_what_was_asked_before() -> None:
    works, asked = False, 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise UnreachableError("away")

    readiness = Readiness(lambda: works, ask, GatewayMetrics(), 3600)
    for _ in range(2):
        with pytest.raises(UnreachableError):
            await readiness.get()
    assert asked == 1
    works = True
    await readiness.get()
    assert asked == 1


async def test_where_nobody_looks_it_is_asked() -> None:
    async def ask() -> None:
        pass

    await Readiness(lambda: False, ask, GatewayMetrics(), 3600).get()
