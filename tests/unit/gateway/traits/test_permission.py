"""Who may upload and remove vectors."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from tests.unit.gateway.traits.folder_gateway import (
    ADMIN,
    KEY,
    USER_KEY,
    Server,
    assert_error,
    settings,
)


@pytest.mark.parametrize(
    ("headers", "status", "says"),
    [
        ({}, 401, "Authorization: Bearer KEY"),
        ({"Authorization": "Basic eDp5"}, 401, "Authorization: Bearer KEY"),
        ({"Authorization": "Bearer wrong"}, 401, "not valid"),
        ({"X-API-Key": "s3cret"}, 401, "not valid"),
        ({"X-API-Key": USER_KEY}, 403, "the API key 'user' may not do that"),
        ({"X-API-Key": KEY}, 422, "format"),
    ],
)
async def test_only_an_admin_s_key_opens_and_no_key_is_ever_logged(
    server: Server,
    headers: dict[str, Any],
    status: int,
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        for method in ("PUT", "DELETE"):
            if status == 422 and method == "DELETE":
                continue
            response = await server.http.request(method, "/api/v1/traits/x", headers=headers)
            assert_error(response, status, says)
            assert ("WWW-Authenticate" in response.headers) == (status == 401)
    logged = "".join(str(record.__dict__) for record in caplog.records)
    assert "s3cret" not in logged
    assert "wrong" not in logged
    assert not server.folder.exists()


async def test_without_keys_nobody_may(tmp_path: Path) -> None:
    app = create_app(settings(tmp_path))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http,
    ):
        response = await http.put("/api/v1/traits/x", headers=ADMIN)
        assert_error(response, 403, "persona keys new")


async def test_the_key_is_looked_at_before_the_body(server: Server) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    response = await server.http.put("/api/v1/traits/x?format=json", content=body())
    assert response.status_code == 401
