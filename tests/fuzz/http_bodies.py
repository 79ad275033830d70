"""The gateway's whole way from a request's body to its answer, without a model behind it."""

from __future__ import annotations

import asyncio
import atexit
import json
from functools import cache
from typing import Any

import httpx

from gateway.app import create_app
from gateway.settings import Settings

PATHS = (
    "/api/v1/generate",
    "/api/v1/generate/baseline",
    "/api/v1/compare",
    "/api/v1/sweep",
    "/v1/chat/completions",
    "/v1/completions",
)
_NOBODY_LISTENS = "127.0.0.1:9"
_PROMPT: dict[str, Any] = {"prompt": "Hi", "max_tokens": 4, "temperature": 0.5, "stop": ["x"]}
_STEERING: dict[str, Any] = {
    "traits": [{"name": "sarcasm", "scalar": 1.0, "positions": "response"}],
    "layers": [1],
    "operations": [{"trait": "sarcasm", "kind": "cap", "value": 90, "unit": "percentile"}],
    "when": {"trait": "flattery", "above": 0.5},
    "window": {"from": 0, "to": 9, "fade": 2},
}

_BODIES: tuple[dict[str, Any], ...] = (
    {**_PROMPT, "trait": "sarcasm", "scalar": 1, "steering": _STEERING, "stream": True},
    {"messages": [{"role": "user", "content": "Hi"}], "monitor": ["sarcasm"], "seed": 1},
    {**_PROMPT, "steerings": [_STEERING], "baseline": False},
    {**_PROMPT, "trait": "sarcasm", "scalars": [-1, 0, 1], "scores": True},
    {
        "model": "persona",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream_options": {"include_usage": True},
        "steering": _STEERING,
    },
    {"model": "persona", "prompt": ["Hi", "Ho"], "n": 2, "echo": True},
)
SEEDS = tuple(bytes([index]) + json.dumps(body).encode() for index, body in enumerate(_BODIES))


class _Gateway:
    """A gateway in this process, and the loop that it runs in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        values: dict[str, Any] = {"triton_url": _NOBODY_LISTENS}
        app = create_app(Settings(**values))
        self._life = app.router.lifespan_context(app)
        self._loop.run_until_complete(self._life.__aenter__())
        transport = httpx.ASGITransport(app)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        atexit.register(self._close)

    def post(self, path: str, body: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        return self._loop.run_until_complete(self._client.post(path, content=body, headers=headers))

    def _close(self) -> None:
        self._loop.run_until_complete(self._life.__aexit__(None, None, None))
        self._loop.close()


_gateway = cache(_Gateway)


def post(content: bytes) -> None:
    """Posts a body to one of the routes, which its first byte chooses, and checks the answer.

    Raises:
        AssertionError: It is neither a refusal that names what is wrong, nor says that there is no
            model.
    """
    path = PATHS[content[0] % len(PATHS)] if content else PATHS[0]
    response = _gateway().post(path, content[1:])
    assert 400 <= response.status_code < 500 or response.status_code == 503, response.text
    error = response.json()["error"]
    message = error["message"] if path.startswith("/v1") else error
    assert isinstance(message, str)
    assert message
    # An answer that is many times the request would be a way to hurt with little.
    assert len(response.content) < 20_000 + 10 * len(content)
