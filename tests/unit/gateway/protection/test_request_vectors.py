"""Who may bring vectors along, and what logs say about them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.unit.gateway.protection.policies import POLICY, write
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, Server, bearer, running
from triton_models.contract.request_vectors import encoded_vectors, parse_request_vectors

NUMBERS = np.array([0.7311, -0.1234, 8.5], np.float32)
VECTORS = encoded_vectors({"mine": {1: NUMBERS}})
BASE64 = VECTORS["mine"]["layers"]["1"]
(VECTOR,) = parse_request_vectors({"vectors": [json.dumps(VECTORS)]})
BODY = {"prompt": "hi", "trait": "mine", "scalar": 1, "vectors": VECTORS}
CHAT = {
    "model": "persona",
    "messages": [{"role": "user", "content": "hi"}],
    "steering": {"traits": [{"name": "mine", "scalar": 1}], "vectors": VECTORS},
}


async def statuses(server: Server, **headers: str) -> tuple[int, int]:
    """Returns what REST and OpenAI's API answer."""
    rest = await server.http.post("/api/v1/generate", json=BODY, headers=headers)
    chat = await server.http.post("/v1/chat/completions", json=CHAT, headers=headers)
    return rest.status_code, chat.status_code


async def test_with_keys_admins_may(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, api_keys=KEYS) as server:
        assert await statuses(server, **bearer(ADMIN)) == (200, 200)
        assert await statuses(server, **bearer(USER)) == (403, 403)
        refused = await server.http.post("/api/v1/generate", json=BODY, headers=bearer(USER))
        assert "vectors in a request are not allowed: they are for the role admin" in refused.text
        without = {"prompt": "hi", "trait": "sarcasm", "scalar": 1, "vectors": {}}
        allowed = await server.http.post("/api/v1/generate", json=without, headers=bearer(USER))
        assert allowed.status_code == 200


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("::ffff:127.0.0.1", {}, 200),
        ("192.0.2.7", {}, 403),
        ("", {}, 403),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 403),
        ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}, 403),
        ("127.0.0.1", {"Via": "1.1 proxy"}, 403),
    ],
)
async def test_without_keys_this_machine_may(
    monkeypatch: pytest.MonkeyPatch, address: str, headers: dict[str, str], status: int
) -> None:
    async with running(monkeypatch) as server:
        transport = httpx.ASGITransport(server.app, client=(address, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            answer = await http.post("/api/v1/generate", json=BODY, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("user", [True, False])
async def test_a_policy_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: bool
) -> None:
    rule = {"user": user, "admin": not user}
    policy = write(tmp_path / "policy.json", {**POLICY, "vectors": rule})
    allowed, refused = (USER, ADMIN) if user else (ADMIN, USER)
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        assert await statuses(server, **bearer(allowed)) == (200, 200)
        assert await statuses(server, **bearer(refused)) == (403, 403)
    async with running(monkeypatch, policy_file=policy) as server:
        assert (await statuses(server))[0] == (200 if user else 403)


async def test_a_range_holds_for_a_vector_of_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rule = {"user": True, "admin": True}
    traits = {"mine": {"user": [-1, 0], "admin": None}}
    policy = write(tmp_path / "policy.json", {**POLICY, "traits": traits, "vectors": rule})
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        assert await statuses(server, **bearer(USER)) == (403, 403)
        assert await statuses(server, **bearer(ADMIN)) == (200, 200)


async def test_logs_have_digests_and_no_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "audit.log"
    settings: dict[str, Any] = {"audit_log": str(path), "audit_log_text": True}
    broken = {"mine": {"layers": {"1": f"{BASE64}!"}}}
    async with running(monkeypatch, api_keys=KEYS, **settings) as server:
        monitored = {"prompt": "hi", "monitor": ["mine"], "vectors": VECTORS}
        for body, address in (
            (BODY, "/api/v1/generate"),
            (monitored, "/api/v1/generate/baseline"),
            (CHAT, "/v1/chat/completions"),
            ({**BODY, "vectors": broken}, "/api/v1/generate"),
        ):
            await server.http.post(address, json=body, headers=bearer(ADMIN))
        await server.http.post("/api/v1/generate", json=BODY, headers=bearer(USER))
    audited = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in audited] == ["generation"] * 3 + ["refusal"]
    assert all(line["vectors"] == {"mine": VECTOR.digest} for line in audited)
    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "request" in logged
    for text in (logged, path.read_text()):
        assert BASE64[:8] not in text
        assert "0.7311" not in text
