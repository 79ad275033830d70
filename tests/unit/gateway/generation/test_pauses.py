"""No request holds the event loop much longer than an ordinary one does."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from gateway.generation import dispatcher
from tests.unit.gateway.protection_gateway import Server, running
from triton_models import grpc_messages
from triton_models.grpc_messages import TritonChunk

JSON = {"Content-Type": "application/json"}
MAX_BYTES = 1_048_576
EMOJI = "\U0001f600"


class Stream:
    """Stands in for a stream to Triton, which writes the request to its socket."""

    ended = True

    def __init__(self, stub: Any, request: Any, timeout: float, metadata: Any = ()) -> None:
        self._request = request
        self._answers = [TritonChunk("x", "stop", 1, 1, final=True)]

    async def open(self) -> None:
        self._request.SerializeToString()
        self._request = None

    async def read(self, timeout: float) -> TritonChunk | None:
        return self._answers.pop() if self._answers else None

    def cancel(self) -> None:
        pass


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    encode = grpc_messages.encode_request
    async with running(monkeypatch) as server:
        monkeypatch.setattr(dispatcher, "encode_request", encode)
        monkeypatch.setattr("gateway.triton.server.TritonStream", Stream)
        yield server


async def longest_pause(work: Callable[[], Any]) -> float:
    """Returns for how long, in seconds of this thread's work, nothing else had a turn."""
    longest = 0.0
    run = asyncio.Handle._run

    def timed(self: asyncio.Handle) -> None:
        nonlocal longest
        start = time.thread_time()
        run(self)
        longest = max(longest, time.thread_time() - start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        await asyncio.create_task(work())
    return longest


def filled(prefix: str, item: str, suffix: str) -> bytes:
    """Returns as many items, between commas, as a body can hold."""
    number = (MAX_BYTES - len(prefix) - len(suffix)) // (len(item.encode()) + 1)
    return (prefix + ",".join([item] * number) + suffix).encode()


def unknown_fields(start: str, number: int) -> bytes:
    fields = ",".join(f'"a{index}":0' for index in range(number))
    return f"{start}{fields}}}".encode()


def emoji_compare(prompt: str) -> bytes:
    traits = [{"name": "sarcasm", "scalar": 1.0}]
    body = {"steerings": [{"traits": traits}] * 32, **json.loads(prompt)}
    return json.dumps(body, ensure_ascii=False).encode()


GENERATE, CHAT, COMPARE = "/api/v1/generate", "/v1/chat/completions", "/api/v1/compare"

HOSTILE = {
    "empty messages": (GENERATE, filled('{"messages":[', "{}", "]}")),
    "numbers as messages": (CHAT, filled('{"model":"persona","messages":[', "0", "]}")),
    "empty messages, OpenAI's": (CHAT, filled('{"model":"persona","messages":[', "{}", "]}")),
    "unknown fields": (GENERATE, unknown_fields('{"prompt":"x",', 90_000)),
    "unknown fields, OpenAI's": (CHAT, unknown_fields('{"model":"persona",', 90_000)),
    "as many unknown fields as there may be": (CHAT, unknown_fields("{", 1000)),
    "unknown fields in messages": (
        CHAT,
        b'{"model":"persona","messages":[' + b",".join([unknown_fields("{", 400)] * 50) + b"]}",
    ),
    "texts as steerings": (COMPARE, filled('{"prompt":"x","steerings":[', '""', "]}")),
    "numbers as steerings": (COMPARE, filled('{"prompt":"x","steerings":[', "0", "]}")),
    "stop strings": (GENERATE, filled('{"prompt":"x","stop":[', '""', "]}")),
    "numbers to monitor": (GENERATE, filled('{"prompt":"x","monitor":[', "0", "]}")),
    "layers": (GENERATE, filled('{"prompt":"x","layers":[', "0", "]}")),
    "scalars": ("/api/v1/sweep", filled('{"prompt":"x","trait":"t","scalars":[', "0", "]}")),
    "prompts": ("/v1/completions", filled('{"model":"persona","prompt":[', '"x"', "]}")),
    "parts": (
        CHAT,
        filled(
            '{"model":"persona","messages":[{"role":"user","content":[',
            '{"type":"text","text":"x"}',
            "]}]}",
        ),
    ),
    "depth": (GENERATE, b"[" * MAX_BYTES),
    "depth of objects": (GENERATE, b'{"a":' * (MAX_BYTES // 5)),
    "an integer": (GENERATE, b'{"scalar":' + b"9" * (MAX_BYTES - 20) + b"}"),
    "integers": (GENERATE, filled('{"layers":[', "9" * 4300, "]}")),
    "integers to echo": (GENERATE, b'{"max_tokens":' + b"9" * 4300 + b',"prompt":1}'),
    "a float": (GENERATE, b'{"scalar":1.' + b"9" * (MAX_BYTES - 20) + b"}"),
    "quotation marks": (GENERATE, b'{"prompt":"' + b'\\"' * (MAX_BYTES // 2 - 20) + b'"}'),
    "a trait's name": (GENERATE, b'{"prompt":"x","scalar":1,"trait":"%s"}' % (b"t" * 1_000_000)),
    "a field's name": (CHAT, b'{"%s":1}' % (b"t" * 1_000_000)),
    "a model's name": (CHAT, b'{"messages":[],"model":"%s"}' % (b"," * 1_000_000)),
    "emoji, 33 times": (COMPARE, emoji_compare(json.dumps({"prompt": EMOJI * 199_990}))),
    "emoji in messages, 33 times": (
        COMPARE,
        emoji_compare(json.dumps({"messages": [{"role": "user", "content": EMOJI * 199_990}]})),
    ),
}

ORDINARY = json.dumps(
    {
        "model": "persona",
        "messages": [{"role": "user", "content": "word " * 80}] * 499,
        "max_tokens": 1,
    }
).encode()
"""A long chat, as clients send it."""

FACTOR = 5
"""How many times as long another request may take at once. A pause of the ordinary one is some
milliseconds; before there were bounds, these took a hundred to thousands of times as long."""


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_body_holds_the_loop_much_longer_than_an_ordinary_one(
    name: str, server: Server
) -> None:
    path, content = HOSTILE[name]
    assert len(content) <= MAX_BYTES
    answers: list[httpx.Response] = []

    async def ask(path: str, content: bytes) -> None:
        answers.append(await server.http.post(path, content=content, headers=JSON))

    await ask(CHAT, ORDINARY)
    assert answers[0].status_code == 200
    pauses = [await longest_pause(lambda: ask(CHAT, ORDINARY)) for _ in range(3)]
    ordinary = statistics.median(pauses)
    # Neither is the most of several: a pause can have other causes, such as collecting garbage.
    hostile = min([await longest_pause(lambda: ask(path, content)) for _ in range(3)])
    print(f"{name}: {hostile * 1000:.1f} ms, {hostile / ordinary:.2f} of {ordinary * 1000:.1f} ms")
    assert hostile < FACTOR * ordinary
    refused = not name.startswith("emoji")
    for answer in answers[-3:]:
        assert (400 <= answer.status_code < 500) is refused, answer.text[:200]
        assert len(answer.content) < 20_000
