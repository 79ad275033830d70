"""Everything under /v1 that fails, fails in OpenAI's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.http.openai_errors import error_body, named_field
from gateway.http.request_context import RequestContext
from gateway.settings import Settings

NOBODY_LISTENS = "127.0.0.1:9"
JSON = {"Content-Type": "application/json"}
TOOL = {"type": "function", "function": {"name": "weather"}}
CHAT: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(triton_url=NOBODY_LISTENS, health_watch=False, max_body_bytes=2048))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield client


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["X-Request-ID"]
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    return error


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", CHAT),
        ("chat/completions", CHAT | {"stream": True}),
        ("completions", {"model": "persona", "prompt": "hi"}),
        ("models", None),
        ("models/persona:sarcasm=1", None),
    ],
)
async def test_without_triton_calls_answer_503_and_when_to_retry(
    path: str, body: dict[str, Any] | None, http: httpx.AsyncClient
) -> None:
    url = f"/v1/{path}"
    response = await http.get(url) if body is None else await http.post(url, json=body)
    assert error_of(response, 503)["code"] == "unavailable"
    assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("change", "param", "says"),
    [
        ({"stering": {}}, "stering", "did you mean steering?"),
        ({"tools": [{}]}, "tools.0.type", "Field required"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name", "a name of its own"),
        ({"tool_choice": "required"}, "tool_choice", "there are no tools"),
        ({"messages": [{"role": "x", "content": ""}]}, "messages.0.role", "'developer'"),
        ({"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
        ({"model": None}, "model", "Field required"),
        ({"n": "many"}, "n", "not 'many'"),
        ({"\ud800": 1}, "\\ud800", "no such field"),
    ],
)
async def test_bodies_that_do_not_validate_answer_400_and_name_the_field(
    change: dict[str, Any], param: str, says: str, http: httpx.AsyncClient
) -> None:
    content = json.dumps(CHAT | change)
    response = await http.post("/v1/chat/completions", content=content, headers=JSON)
    error = error_of(response, 400)
    assert (error["param"], error["code"]) == (param, "invalid_argument")
    assert says in error["message"]


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
async def test_what_is_no_json_object_answers_400(content: str, http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/completions", content=content, headers=JSON)
    assert error_of(response, 400)["param"] is None


async def test_unknown_addresses_other_methods_and_large_bodies_do_too(
    http: httpx.AsyncClient,
) -> None:
    assert error_of(await http.get("/v1/nothing"), 404)["code"] == "not_found"
    assert error_of(await http.get("/v1"), 404)
    assert error_of(await http.get("/v1/chat/completions"), 405)
    too_large = error_of(await http.post("/v1/completions", content=" " * 3000), 400)
    assert too_large["code"] == "context_length_exceeded"


async def test_other_addresses_keep_their_own_shape(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1x")).json()["success"] is False


async def test_the_documentation_has_examples_that_validate(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert "422" not in document["paths"]["/v1/completions"]["post"]["responses"]
    for path, name in (("chat/completions", "ChatRequest"), ("completions", "CompletionRequest")):
        for example in document["components"]["schemas"][name]["examples"]:
            response = await http.post(f"/v1/{path}", json=example)
            assert response.status_code == 503  # valid: only the model is missing


@pytest.mark.parametrize(
    ("problem", "status"), [(RuntimeError("secret"), 500), (asyncio.CancelledError(), 503)]
)
async def test_defects_and_shutdowns_do_too(problem: BaseException, status: int) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise problem

    transport = httpx.ASGITransport(RequestContext(broken), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        response = await client.get("/v1/models")
    assert "secret" not in error_of(response, status)["message"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("max_tokens is 0: give an integer", "max_tokens"),
        ("messages[1] cannot be rendered", "messages[1]"),
        ("steering.traits and the model's name both say it", "steering.traits"),
        ("the prompt is too long", None),
        ("", None),
    ],
)
def test_the_field_that_a_message_is_about_is_found(message: str, field: str | None) -> None:
    assert named_field(message, ["max_tokens", "messages", "steering"]) == field


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_every_status_has_openai_s_name_for_its_kind(status: int, kind: str) -> None:
    assert error_body(status, "a_code", "why")["error"] == {
        "message": "why",
        "type": kind,
        "param": None,
        "code": "a_code",
    }
