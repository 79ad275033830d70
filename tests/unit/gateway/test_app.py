"""The HTTP contract that needs no model: errors, health, headers, documentation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.http.request_context import RequestContext
from gateway.settings import Settings

NOBODY_LISTENS = "127.0.0.1:9"
JSON = {"Content-Type": "application/json"}
STEERED = {"prompt": "hi", "trait": "sarcasm", "scalar": 2}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(
        Settings(
            triton_url=NOBODY_LISTENS,
            health_watch=False,
            max_body_bytes=2048,
            cors_origins=("https://a.example",),
        )
    )
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield client


def assert_is_error(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    body: dict[str, Any] = response.json()
    assert body["success"] is False
    assert body["error"]
    assert body["detail"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


async def test_liveness_needs_no_model(http: httpx.AsyncClient) -> None:
    response = await http.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "healthy"})


async def test_the_root_lists_the_calls(http: httpx.AsyncClient) -> None:
    body = (await http.get("/")).json()
    assert {"name", "version", "description", "endpoints"} <= body.keys()
    assert "POST /api/v1/generate" in body["endpoints"]


@pytest.mark.parametrize("path", ["/health/ready", "/api/v1/traits", "/api/v1/traits/sarcasm"])
async def test_without_triton_calls_answer_503_and_when_to_retry(
    path: str, http: httpx.AsyncClient
) -> None:
    response = await http.get(path)
    assert_is_error(response, 503)
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/baseline"])
async def test_without_triton_generations_answer_503_streamed_or_not(
    path: str, stream: bool, http: httpx.AsyncClient
) -> None:
    body = {"prompt": "hi", "stream": stream}
    if path == "/api/v1/generate":
        body |= STEERED
    response = await http.post(path, json=body)
    assert_is_error(response, 503)
    assert "Retry-After" in response.headers


async def test_without_triton_the_status_is_initializing(http: httpx.AsyncClient) -> None:
    response = await http.get("/status")
    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "initializing"
    assert body["available_traits"] == []
    assert {"model", "device", "model_info"} <= body.keys()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"prompt": "hi"', "not valid JSON"),
        ("[]", "JSON object"),
        ('{"prompt": "hi"}', "trait: Field required: give a trait, or steering"),
        ('{"prompt": "", "trait": "t", "scalar": 1}', "prompt: the prompt is empty"),
        ('{"prompt": "hi", "trait": "t", "scalar": NaN}', "finite number, not 'nan'"),
        ('{"prompt": "hi", "trait": "t", "scalar": -Infinity}', "finite number, not '-inf'"),
        ('{"prompt": "hi", "trait": "t", "scalar": "much"}', "not 'much'"),
        ('{"prompt": "\\ud800", "trait": "t", "scalar": 1}', "surrogate"),
        ('{"prompt": "hi", "trait": "t", "scalar": 1, "\\ud800": 1}', "unicode"),
        ('{"prompt": "hi", "trait": "t", "scalar": 1, "top": 1}', "the fields are"),
        ('{"prompt": "hi", "trait": "t", "scalar": 1, "top_p": 2}', "top_p is 2"),
    ],
)
async def test_bodies_that_do_not_validate_answer_422_and_why(
    content: str, says: str, http: httpx.AsyncClient
) -> None:
    response = await http.post("/api/v1/generate", content=content, headers=JSON)
    body = assert_is_error(response, 422)
    assert says in body["error"]
    assert isinstance(body["detail"], list)


async def test_a_body_that_is_not_sent_as_json_says_what_to_send(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/generate", content='{"prompt": "hi"}')
    assert "Content-Type: application/json" in assert_is_error(response, 422)["error"]


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"[" * 1500, b'{"scalar": ' + b"9" * 2000])
async def test_bodies_that_no_parser_takes_are_errors_of_the_client(
    content: bytes, http: httpx.AsyncClient
) -> None:
    response = await http.post("/api/v1/generate", content=content, headers=JSON)
    assert 400 <= response.status_code < 500
    assert_is_error(response, response.status_code)


async def test_large_bodies_answer_413_announced_or_not(http: httpx.AsyncClient) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * 1000

    for content in (b" " * 3000, parts()):
        response = await http.post("/api/v1/generate", content=content, headers=JSON)
        assert "2048" in assert_is_error(response, 413)["error"]


async def test_unknown_addresses_and_methods_have_the_error_body_too(
    http: httpx.AsyncClient,
) -> None:
    assert_is_error(await http.get("/nothing"), 404)
    assert_is_error(await http.get("/api/v1/generate"), 405)


async def test_a_sane_request_id_is_returned_and_another_one_replaced(
    http: httpx.AsyncClient,
) -> None:
    response = await http.get("/health", headers={"X-Request-ID": "order-66"})
    assert response.headers["X-Request-ID"] == "order-66"
    for bad in ("a b", "x" * 129, '"'):
        response = await http.get("/health", headers={"X-Request-ID": bad})
        assert response.headers["X-Request-ID"] != bad


async def test_cors_is_for_the_origins_on_the_list(http: httpx.AsyncClient) -> None:
    allowed = await http.get("/health", headers={"Origin": "https://a.example"})
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://a.example"
    other = await http.get("/health", headers={"Origin": "https://b.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


async def test_the_documentation_has_examples_that_validate(http: httpx.AsyncClient) -> None:
    assert (await http.get("/docs")).status_code == 200
    schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]
    for path, name in (("", "GenerateRequest"), ("/baseline", "BaselineRequest")):
        for example in schemas[name]["examples"]:
            response = await http.post(f"/api/v1/generate{path}", json=example)
            assert response.status_code == 503  # valid: only the model is missing


async def test_the_log_has_the_ids_and_never_the_prompt(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="gateway"):
        body = {**STEERED, "prompt": "a secret prompt"}
        await http.post("/api/v1/generate", json=body, headers={"X-Request-ID": "id-1"})
    (record,) = [record for record in caplog.records if record.message == "request"]
    fields = record.__dict__
    assert fields["request_id"] == "id-1"
    assert fields["triton_id"]
    assert (fields["trait"], fields["status"]) == ("sarcasm", 503)
    assert "secret" not in "".join(str(record.__dict__) for record in caplog.records)


async def serve(app: Any, path: str = "/") -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        return await client.get(path)


async def test_a_defect_is_a_500_that_shows_nothing_of_it() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret detail")

    response = await serve(RequestContext(broken))
    assert_is_error(response, 500)
    assert "secret" not in response.text


async def test_a_shutdown_answers_open_requests_with_503() -> None:
    async def cancelled(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    response = await serve(RequestContext(cancelled))
    assert "shutting down" in assert_is_error(response, 503)["error"]
