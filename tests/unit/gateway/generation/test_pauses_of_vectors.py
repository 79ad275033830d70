"""Vectors in a request do not hold the event loop, however many numbers they have."""

from __future__ import annotations

import json
import statistics
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from gateway.api import ensemble_requests, vector_parts
from gateway.generation import dispatcher
from gateway.http import bodies
from tests.unit.gateway.generation.test_pauses import (
    CHAT,
    COMPARE,
    FACTOR,
    GENERATE,
    JSON,
    MAX_BYTES,
    ORDINARY,
    Stream,
    longest_pause,
)
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, Server, bearer, running
from triton_models import grpc_messages
from triton_models.contract.request_vectors import encoded_vectors

REQUEST = json.dumps({"prompt": "hi", "trait": "mine", "scalar": 1})
HEADER = b'{"mine.1":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % b",".join([b"1"] * 2**20)
FILE = len(HEADER).to_bytes(8, "little") + HEADER + b"\0" * 4
"""A vector of a million dimensions: to read them takes a hundred times as long as a long chat."""

BLOCKS = {block: np.ones(2**17, np.float32) for block in range(8)}
"""As many numbers as a request may bring along."""

VECTORS = encoded_vectors({"mine": BLOCKS})
STEERING = {"traits": [{"name": "mine", "scalar": 1.0}]}


def parts(file: bytes) -> dict[str, Any]:
    files = {"request": (None, REQUEST), "vectors": ("a", file)}
    return {"files": files, "headers": bearer(ADMIN)}


def document(**fields: Any) -> dict[str, Any]:
    content = json.dumps({"prompt": "hi", "vectors": VECTORS, **fields})
    return {"content": content, "headers": {**bearer(ADMIN), **JSON}}


REQUESTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "a file's header": (GENERATE, parts(FILE), 422),
    "numbers in a file": (
        GENERATE,
        parts(save({f"mine.{block}": numbers for block, numbers in BLOCKS.items()})),
        200,
    ),
    "numbers in JSON": (GENERATE, document(trait="mine", scalar=1), 200),
    "numbers in JSON, 21 times": (COMPARE, document(steerings=[STEERING] * 20), 200),
}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    encode = grpc_messages.encode_request
    async with running(monkeypatch, api_keys=KEYS) as server:
        monkeypatch.setattr(dispatcher, "encode_request", encode)
        monkeypatch.setattr("gateway.triton.server.TritonStream", Stream)
        yield server


def noting(threads: set[int], read: Callable[..., Any], given: Any, *limits: int) -> Any:
    """Reads something, and notes in which thread if it is vectors: other bodies are smaller."""
    if not isinstance(given, bytes) or len(given) > MAX_BYTES:
        threads.add(threading.get_ident())
    return read(given, *limits)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that have read vectors: their JSON, their file, or their numbers."""
    threads: set[int] = set()
    for module, name in (
        (bodies, "parse_body"),
        (vector_parts, "read_named_vectors"),
        (ensemble_requests, "vectors_of"),
    ):
        monkeypatch.setattr(module, name, partial(noting, threads, getattr(module, name)))
    return threads


@pytest.mark.parametrize("name", REQUESTS)
async def test_they_are_read_beside_the_loop(name: str, server: Server, readers: set[int]) -> None:
    path, sent, status = REQUESTS[name]
    answers: list[httpx.Response] = []

    async def ask() -> None:
        headers = {**bearer(ADMIN), **JSON}
        answer = await server.http.post(CHAT, content=ORDINARY, headers=headers)
        assert answer.status_code == 200

    async def ask_with_vectors() -> None:
        answers.append(await server.http.post(path, **sent))

    await ask()
    ordinary = statistics.median([await longest_pause(ask) for _ in range(3)])
    # Neither is the most of several: a pause can have other causes, such as collecting garbage.
    hostile = min([await longest_pause(ask_with_vectors) for _ in range(3)])
    print(f"{name}: {hostile * 1000:.1f} ms, {hostile / ordinary:.2f} of {ordinary * 1000:.1f} ms")
    assert hostile < FACTOR * ordinary
    assert readers
    assert threading.get_ident() not in readers
    assert [answer.status_code for answer in answers] == [status] * 3, answers[0].text[:200]
    assert status == 200 or "the part vectors" in answers[0].text
