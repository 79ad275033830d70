"""Vectors that requests bring along: in JSON and in parts, and what reaches the model server."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from tests.unit.gateway.protection_gateway import ADMIN, KEYS, Server, bearer, running
from triton_models.contract.request_vectors import encoded_vectors, parse_request_vectors

NUMBERS = np.array([0.5, -0.25, 8.0], np.float32)
VECTORS = encoded_vectors({"mine": {1: NUMBERS, 2: NUMBERS}})
(VECTOR,) = parse_request_vectors({"vectors": [json.dumps(VECTORS)]})
STEERING: dict[str, Any] = {"traits": [{"name": "mine", "scalar": 2.0}]}
REQUEST: dict[str, Any] = {"prompt": "hi", "steering": STEERING}
CHAT: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
FILE = save({"mine.1": NUMBERS, "mine.2": NUMBERS.astype(np.float16)})


async def sent(
    server: Server, path: str, body: dict[str, Any] | None = None, **more: Any
) -> httpx.Response:
    if body is not None:
        more["json"] = body
    headers = {**bearer(ADMIN), **more.pop("headers", {})}
    return await server.http.post(path, headers=headers, **more)


def numbers_of(values: Any) -> dict[str, dict[str, list[float]]]:
    """Returns what reached the model server."""
    (text,) = values["vectors"]
    return {
        name: {
            layer: np.frombuffer(base64.b64decode(numbers), "<f4").tolist()
            for layer, numbers in fields["layers"].items()
        }
        for name, fields in json.loads(text).items()
    }


def parts(request: Any, vectors: bytes = FILE) -> dict[str, Any]:
    return {
        "request": (None, json.dumps(request), "application/json"),
        "vectors": ("mine.safetensors", vectors),
    }


EXPECTED = {"mine": {"1": NUMBERS.tolist(), "2": NUMBERS.tolist()}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/generate", {"prompt": "hi", "steering": STEERING, "vectors": VECTORS}),
        ("/api/v1/generate", {"prompt": "hi", "trait": "mine", "scalar": 1, "vectors": VECTORS}),
        ("/api/v1/generate/baseline", {"prompt": "hi", "monitor": ["mine"], "vectors": VECTORS}),
        ("/api/v1/compare", {"prompt": "hi", "steerings": [STEERING], "vectors": VECTORS}),
        (
            "/api/v1/sweep",
            {"prompt": "hi", "trait": "mine", "scalars": [1, 2], "vectors": VECTORS},
        ),
        ("/v1/chat/completions", {**CHAT, "steering": {**STEERING, "vectors": VECTORS}}),
        (
            "/v1/completions",
            {"model": "persona", "prompt": "hi", "steering": {**STEERING, "vectors": VECTORS}},
        ),
        (
            "/v1/responses",
            {"model": "persona", "input": "hi", "steering": {**STEERING, "vectors": VECTORS}},
        ),
    ],
)
async def test_every_call_that_generates_passes_them_on(
    monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    async with running(monkeypatch, api_keys=KEYS) as server:
        answer = await sent(server, path, body)
    assert answer.status_code == 200, answer.text
    assert server.asked
    assert all(numbers_of(values) == EXPECTED for values in server.asked)
    assert VECTORS["mine"]["layers"]["1"] not in answer.text
    if answer.json().get("seed"):  # answers of a comparison say what they were made with
        assert answer.json()["vectors"] == {"mine": VECTOR.digest}


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/compare"])
async def test_a_safetensors_part_says_the_same(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    request = REQUEST
    if path.endswith("compare"):
        request = {"prompt": "hi", "steerings": [STEERING]}
    async with running(monkeypatch, api_keys=KEYS) as server:
        answer = await sent(server, path, files=parts(request))
    assert answer.status_code == 200, answer.text
    assert all(numbers_of(values) == EXPECTED for values in server.asked)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"vectors": {"mine": {"layers": {"1": "!"}}}}, "vectors.mine.layers.1 is not base64"),
        ({"vectors": {"mine": {"layers": {}}}}, "vectors.mine.layers: Dictionary should have at"),
        ({"vectors": {"mine": {"layers": {"1": 5}}}}, "vectors.mine.layers.1: Input should be a"),
        ({"vectors": {"mine": {**VECTORS["mine"], "dtype": "f8"}}}, "vectors.mine.dtype: Input"),
        ({"vectors": {str(n): VECTORS["mine"] for n in range(17)}}, "vectors: Dictionary should"),
        ({"vectors": [1]}, "vectors: Input should be a valid dictionary"),
    ],
)
async def test_what_cannot_steer_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], message: str
) -> None:
    async with running(monkeypatch, api_keys=KEYS) as server:
        answer = await sent(server, "/api/v1/generate", REQUEST | body)
        chat = await sent(server, "/v1/chat/completions", {**CHAT, "steering": STEERING | body})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(message)
    assert chat.status_code == 400
    assert chat.json()["error"]["message"].startswith(f"steering.{message}")


async def test_a_comparison_knows_their_names_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steerings = [STEERING, {"traits": [{"name": "yours", "scalar": 1}]}]
    async with running(monkeypatch, api_keys=KEYS) as server:
        body = {"prompt": "hi", "steerings": steerings, "vectors": VECTORS}
        answer = await sent(server, "/api/v1/compare", body)
    assert answer.json()["error"].startswith("steerings.1: unknown trait 'yours'")


async def test_there_is_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, api_keys=KEYS, max_request_vectors_bytes=1024) as server:
        most = {"vectors": encoded_vectors({"mine": {1: np.ones(256)}})}
        assert (await sent(server, "/api/v1/generate", REQUEST | most)).status_code == 200
        more = {"vectors": encoded_vectors({"mine": {1: np.ones(200)}, "yours": {1: np.ones(57)}})}
        answer = await sent(server, "/api/v1/generate", REQUEST | more)
    assert answer.status_code == 422
    assert "vectors have 1028 bytes as float32 numbers: send at most 1024" in answer.text


async def test_a_body_may_be_larger_for_who_may_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = encoded_vectors({"mine": {block: np.ones(65_536) for block in range(4)}})
    body = {**REQUEST, "vectors": vectors}
    assert len(json.dumps(body)) > 2**20
    async with running(monkeypatch, api_keys=KEYS) as server:
        assert (await sent(server, "/api/v1/generate", body)).status_code == 200
        large = {**REQUEST, "stop": [" " * 2**20]}
        assert (await sent(server, "/api/v1/generate", large)).status_code == 413
        assert (await sent(server, "/api/v1/generate", files=parts(large))).status_code == 413
    async with running(monkeypatch) as server:
        assert (await server.http.post("/api/v1/generate", json=body)).status_code == 413


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"request": (None, "{}")}, "the body has the parts request: send request and vectors"),
        ({**parts(REQUEST), "more": (None, "")}, "request, vectors, more: send request and"),
        (parts([]), "the part request must be an object without vectors"),
        (parts({**REQUEST, "vectors": VECTORS}), "the part request must be an object without"),
        ({**parts(REQUEST), "request": (None, "{")}, "the part request is not valid JSON"),
        (parts(REQUEST, b"no"), "the part vectors is not a safetensors file"),
        (parts(REQUEST, save({"mine": NUMBERS})), "the part vectors has a tensor 'mine': mine.15"),
        (parts(REQUEST, save({"mine.x": NUMBERS})), "the part vectors 'x' is not a decoder block"),
        (parts(REQUEST, save({"mine.1": NUMBERS.astype(int)})), "mine.1 has the type I64"),
        (parts(REQUEST, save({"mine.1": NUMBERS[None]})), "mine.1 has the shape [1, 3]"),
        (parts(REQUEST, save({"mine.1": NUMBERS * np.nan})), "mine.1 holds a number that is not"),
    ],
)
async def test_other_parts_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, Any], message: str
) -> None:
    async with running(monkeypatch, api_keys=KEYS) as server:
        answer = await sent(server, "/api/v1/generate", files=files)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert not server.asked


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        (b"--x--", "multipart/form-data", "its Content-Type has no boundary"),
        (b"--x\r\n", "multipart/form-data; boundary=x", "does not end with its boundary"),
        (b"--x\r\n--x--", "multipart/form-data; boundary=x", "each part needs a name"),
        (
            b"--x\r\nno name\r\n\r\n\r\n--x--",
            "multipart/form-data; boundary=x",
            "each part needs a",
        ),
        (b"\r\n--x" * 20 + b"--", "multipart/form-data; boundary=x", "more than 15 parts"),
    ],
)
async def test_a_body_that_is_not_in_parts_is_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes, content_type: str, message: str
) -> None:
    async with running(monkeypatch, api_keys=KEYS) as server:
        headers = {"Content-Type": content_type}
        answer = await sent(server, "/api/v1/generate", content=content, headers=headers)
    assert answer.status_code == 400
    assert message in answer.text


async def test_no_web_page_can_send_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        headers = {"Origin": "http://a.example"}
        answer = await sent(server, "/api/v1/generate", files=parts(REQUEST), headers=headers)
    assert answer.status_code == 403
    assert not server.asked
