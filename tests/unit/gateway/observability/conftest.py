"""A gateway whose Triton is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings

NOBODY_LISTENS = "127.0.0.1:9"


def make_app() -> Any:
    return create_app(Settings(triton_url=NOBODY_LISTENS, health_watch=False))


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = make_app()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield client
