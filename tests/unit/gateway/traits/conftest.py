"""A gateway whose engine is a watched folder."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.api.cached_call import CachedCall
from gateway.app import create_app
from gateway.traits.trait_changes import TraitFiles
from gateway.traits.vector_files import VectorStore
from tests.unit.gateway.traits.folder_gateway import KEY, USER_KEY, Server, keys, settings


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(tmp_path / "vectors")
    server.live.start()
    app = create_app(settings(server.folder, api_keys=keys(admin=KEY, user=USER_KEY)))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http,
    ):
        app.state.gateway = dataclasses.replace(
            app.state.gateway,
            description=CachedCall(server.describe, 0.5),
            trait_files=TraitFiles(VectorStore(server.folder), server.describe, 60.0),
        )
        server.http = http
        yield server
    server.live.stop()
