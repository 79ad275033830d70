"""A gateway with keys, limits and a policy; a stand-in for Triton notes what comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from fastapi import FastAPI

from gateway.api.readiness import Readiness
from gateway.app import create_app
from gateway.generation.dispatcher import Dispatcher
from gateway.observability.metrics import GatewayMetrics
from gateway.protection.protection import Protection
from gateway.settings import Settings
from gateway.triton.stream import TritonStream
from triton_models.contract.tensors import Values
from triton_models.grpc_messages import TritonChunk

USER = "persona_key-of-a-user-0123456789abcdef"
ADMIN = "persona_key-of-an-admin-0123456789abcdef"
WRONG = "persona_key-of-nobody-at-all-0123456789"
PROMPT_TOKENS = 10
ANSWER_TOKENS = 5
ANSWER = TritonChunk("a secret answer", "stop", PROMPT_TOKENS, ANSWER_TOKENS, final=True)
TRAITS = ("flattery", "maliciousness", "sarcasm")
MEANT = {
    "less": {"kind": "ablate"},
    "more": {"kind": "floor", "value": 90, "unit": "percentile"},
    "raw": {"kind": "cap", "value": 2.5, "unit": "raw"},
}
"""Traits whose vectors are meant for operations."""


def entry(key: str, name: str, role: str = "user", **more: Any) -> dict[str, Any]:
    """Returns what files of keys say about a key."""
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    return {"name": name, "role": role, "sha256": sha256, **more}


KEYS = json.dumps([entry(USER, "alice"), entry(ADMIN, "root", "admin")])


def bearer(key: str) -> dict[str, str]:
    """Returns the header with a key."""
    return {"Authorization": f"Bearer {key}"}


@dataclass
class Server:
    """A running gateway, and what reached its Triton."""

    app: FastAPI
    http: httpx.AsyncClient
    protection: Protection
    asked: list[Mapping[str, Sequence[Any]]] = field(default_factory=list)

    async def generate(self, scalar: float = 1.0, trait: str = "sarcasm", **more: Any) -> Any:
        body = {"prompt": "a secret prompt", "trait": trait, "scalar": scalar}
        return await self.http.post("/api/v1/generate", json=body, **more)


class _Stream:
    """Stands in for a stream to Triton."""

    ended = True

    def __init__(self, log: list[Values], values: Values, answer: TritonChunk) -> None:
        self._log = log
        self._values = values
        self._answer = answer
        self._left = 2

    async def open(self) -> None:
        self._log.append(self._values)

    async def read(self, timeout: float) -> TritonChunk | None:
        self._left -= 1
        if self._left:
            return self._answer
        return None

    def cancel(self) -> None:
        pass


@asynccontextmanager
async def running(monkeypatch: Any, answer: Any = ANSWER, **settings: Any) -> AsyncIterator[Server]:
    """Gives a gateway with settings of one's own, whose model always gives the same answer."""
    asked: list[Values] = []

    def encode(model: str, request_id: str, values: Values, encoded: Any) -> Values:
        return values

    def stream(stub: Any, request: Values, timeout: float, metadata: Any) -> TritonStream:
        made: Any = _Stream(asked, request, answer)
        return made  # type: ignore[no-any-return]

    async def describe(dispatcher: Dispatcher) -> dict[str, Any]:
        trait = {
            "trait_name": "",
            "model_name": "",
            "layers": [],
            "layer_count": 0,
            "metadata": {},
            "recommended_range": None,
        }
        return {
            "model": "m",
            "device": "cpu",
            "model_info": {"context_length": 99},
            "traits": dict.fromkeys(TRAITS, trait)
            | {name: {**trait, "operation": kind} for name, kind in MEANT.items()},
        }

    async def ready() -> None:
        pass

    monkeypatch.setattr(Dispatcher, "describe", describe)
    monkeypatch.setattr("gateway.generation.dispatcher.encode_request", encode)
    monkeypatch.setattr("gateway.triton.server.TritonStream", stream)
    app = create_app(Settings(triton_url="127.0.0.1:9", health_watch=False, **settings))
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 5))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as http,
    ):
        app.state.gateway = replace(
            app.state.gateway,
            readiness=Readiness(lambda: True, ready, GatewayMetrics(), 60),
        )
        yield Server(app, http, app.state.gateway.protection, asked)
