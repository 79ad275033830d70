"""Who asks at an address that is none, or in a way that it does not take, is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.gateway.protection_gateway import running


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/v1/embeddings", 404, "there is nothing at '/v1/embeddings': /docs lists what"),
        ("GET", "/api/v1/nothing", 404, "there is nothing at '/api/v1/nothing'"),
        ("GET", "/\u00e9" + "x" * 500, 404, "there is nothing at '/\\xe9xxx"),
        ("GET", "/v1/responses", 405, "GET is not for '/v1/responses': use POST"),
        ("DELETE", "/v1/models", 405, "DELETE is not for '/v1/models': use GET, HEAD"),
        ("GET", "/playground/nothing.js", 404, "there is nothing at '/playground/nothing.js'"),
    ],
)
async def test_an_address_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int, says: str
) -> None:
    async with running(monkeypatch) as server:
        response = await server.http.request(method, path)
    error: Any = response.json()["error"]
    message = error["message"] if path.startswith("/v1/") else error
    assert response.status_code == status
    assert message.startswith(says)
    assert len(message) < 250
