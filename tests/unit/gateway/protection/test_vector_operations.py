"""Vectors that are meant for an operation: the policy sees the operation, not a scalar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.gateway.protection.policies import write
from tests.unit.gateway.protection_gateway import KEYS, MEANT, USER, bearer, running
from triton_models.contract.request_vectors import encoded_vectors

LESS, MORE = {"user": [-2, 0], "admin": None}, {"user": [0, 2], "admin": None}


@pytest.mark.parametrize(
    ("trait", "rule", "status"),
    [
        # 1 is out of the range of scalars, and ablate is for who may turn a trait down.
        ("less", LESS, 200),
        ("less", MORE, 403),
        ("more", MORE, 200),
        ("more", LESS, 403),
        # Its bound is raw, as nobody's may be who has a range.
        ("raw", LESS, 403),
        ("raw", {"user": None, "admin": None}, 200),
        # A vector that is added.
        ("sarcasm", LESS, 403),
        ("sarcasm", MORE, 200),
    ],
)
async def test_a_scalar_counts_as_the_operation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trait: str, rule: Any, status: int
) -> None:
    policy = write(tmp_path / "policy.json", {"default": rule, "traits": {}})
    traits = [{"name": trait, "scalar": 1}]
    chat = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        for path, body in (
            ("/api/v1/generate", {"prompt": "hi", "trait": trait, "scalar": 1}),
            ("/api/v1/generate", {"prompt": "hi", "steering": {"traits": traits}}),
            ("/api/v1/compare", {"prompt": "hi", "steerings": [{"traits": traits}]}),
            ("/api/v1/sweep", {"prompt": "hi", "trait": trait, "scalars": [1]}),
            ("/v1/chat/completions", {**chat, "steering": {"traits": traits}}),
            ("/v1/chat/completions", {**chat, "model": f"persona:{trait}=1"}),
        ):
            answer = await server.http.post(path, json=body, headers=bearer(USER))
            assert answer.status_code == status, (path, answer.text)


async def test_so_does_that_of_a_vector_in_the_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = {"default": LESS, "traits": {}, "vectors": {"user": True, "admin": True}}
    policy = write(tmp_path / "policy.json", document)
    vector = encoded_vectors({"mine": {1: np.ones(3)}})["mine"]
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        for operation, status in (("ablate", 200), (MEANT["more"], 403), (None, 403)):
            body = {
                "prompt": "hi",
                "trait": "mine",
                "scalar": 1,
                "vectors": {"mine": {**vector, "operation": operation}},
            }
            answer = await server.http.post("/api/v1/generate", json=body, headers=bearer(USER))
            assert answer.status_code == status, answer.text


async def test_the_traits_calls_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as server:
        traits = (await server.http.get("/api/v1/traits")).json()["traits"]
    assert {name: traits[name]["operation"] for name in MEANT} == MEANT
    assert traits["sarcasm"]["operation"] is None
