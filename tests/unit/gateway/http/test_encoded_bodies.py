"""Compressed bodies: served within the limits of what they stand for, or refused by name."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.app import create_app
from gateway.settings import Settings

LIMIT = 200_000
BODY = json.dumps({"model": "persona", "messages": [{"role": "user", "content": "hi"}]}).encode()
ADDRESS = "/v1/chat/completions"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(triton_url="127.0.0.1:9", health_watch=False, max_body_bytes=LIMIT))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield client


async def send(
    http: httpx.AsyncClient, body: bytes, encoding: str, *pieces: bytes
) -> httpx.Response:
    async def in_pieces() -> AsyncIterator[bytes]:
        for piece in (body, *pieces):
            yield piece

    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    content = in_pieces() if pieces else body
    return await http.post(ADDRESS, content=content, headers=headers)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity"])
async def test_a_gzip_body_is_read(http: httpx.AsyncClient, encoding: str) -> None:
    body = BODY if encoding == "identity" else gzip.compress(BODY)
    # The body was understood: only Triton is missing.
    assert (await send(http, body, encoding)).status_code == 503


async def test_a_gzip_body_may_come_in_pieces(http: httpx.AsyncClient) -> None:
    long = json.dumps({**json.loads(BODY), "user": "x" * 150_000}).encode()
    body = gzip.compress(long)
    half = len(body) // 2
    assert (await send(http, body[:half], "gzip", body[half:])).status_code == 503


async def test_the_limit_is_that_of_the_decoded_body(http: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b" " * 1_000 * LIMIT)
    assert len(bomb) < 2 * LIMIT
    response = await send(http, gzip.compress(b" " * (LIMIT + 1)), "gzip")
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "context_length_exceeded")
    assert f"at most {LIMIT} bytes" in error["message"]
    response = await send(http, bomb[: LIMIT - 1], "gzip")
    assert response.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (BODY, "is not gzip"),
        (zlib.compress(BODY), "is not gzip"),
        (gzip.compress(BODY)[:-4], "ends before"),
        (b"", "ends before"),
        (gzip.compress(BODY) + b"more", "goes on after"),
    ],
    # gzip's own bytes hold the time, and all of a run's workers must give a test the same name.
    ids=["plain", "zlib", "cut short", "empty", "longer"],
)
async def test_what_is_no_gzip_is_refused(http: httpx.AsyncClient, body: bytes, says: str) -> None:
    response = await send(http, body, "gzip")
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "\x7f"])
async def test_other_encodings_are_refused_by_name(http: httpx.AsyncClient, encoding: str) -> None:
    response = await send(http, BODY, encoding)
    assert response.status_code == 415
    assert response.json()["error"]["message"].startswith("Content-Encoding is ")
    assert "gzip" in response.headers["accept-encoding"]
