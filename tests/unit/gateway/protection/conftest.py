"""A gateway with keys, for all files here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.protection_gateway import KEYS, Server, running


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with running(monkeypatch, api_keys=KEYS, cors_origins=("https://a.example",)) as server:
        yield server
