"""Requests that mean the same as others: HEAD as GET, a slash at the end as none."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings
from tests.unit.gateway.served_gateway import served

CHAT = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway on a real port, whose Triton is not there."""
    settings = Settings(triton_url="127.0.0.1:9", health_watch=False)
    async with (
        served(create_app(settings), settings, lifespan="on") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


@pytest.mark.parametrize(
    "path", ["/", "/health", "/health/ready", "/v1/models", "/docs", "/openapi.json", "/nowhere"]
)
async def test_head_is_get_without_the_body(http: httpx.AsyncClient, path: str) -> None:
    whole, head = await http.get(path), await http.head(path)
    assert head.status_code == whole.status_code
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert whole.content
    assert not head.content
    # The connection is still in step: what came is the answer to the next request.
    assert (await http.get("/health")).json() == {"status": "healthy"}


async def test_head_of_what_has_no_get_says_what_there_is(http: httpx.AsyncClient) -> None:
    response = await http.head("/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    response = await http.post("/health")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions/"])
async def test_a_slash_at_the_end_is_served_as_none(http: httpx.AsyncClient, path: str) -> None:
    response = await http.post(path, json=CHAT, headers={"X-Forwarded-Proto": "https"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
    assert (await http.get("/health/")).json() == {"status": "healthy"}
