"""A file of vectors in a request does not hold the event loop, whatever its header says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.gateway.generation.test_pauses import CHAT, FACTOR, JSON, ORDINARY, longest_pause
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, bearer, running

REQUEST = json.dumps({"prompt": "hi", "trait": "mine", "scalar": 1})
HEADER = b'{"mine.1":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % b",".join([b"1"] * 2**20)
FILE = len(HEADER).to_bytes(8, "little") + HEADER + b"\0" * 4
"""A vector of a million dimensions: to read them takes a hundred times as long as a long chat."""


async def test_its_header_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[httpx.Response] = []
    async with running(monkeypatch, api_keys=KEYS) as server:

        async def ask() -> None:
            headers = {**bearer(ADMIN), **JSON}
            answer = await server.http.post(CHAT, content=ORDINARY, headers=headers)
            assert answer.status_code == 200

        async def ask_with_file() -> None:
            files: dict[str, Any] = {"request": (None, REQUEST), "vectors": ("a", FILE)}
            answers.append(
                await server.http.post("/api/v1/generate", files=files, headers=bearer(ADMIN))
            )

        await ask()
        ordinary = max([await longest_pause(ask) for _ in range(3)])
        # The least of several, since a pause can have other causes, such as collecting garbage.
        hostile = min([await longest_pause(ask_with_file) for _ in range(3)])
    print(f"{hostile * 1000:.1f} ms, {hostile / ordinary:.2f} of {ordinary * 1000:.1f} ms")
    assert hostile < FACTOR * ordinary
    assert [answer.status_code for answer in answers] == [422] * 3
    assert "the part vectors" in answers[0].text
