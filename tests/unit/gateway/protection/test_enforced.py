"""What a policy enforces goes with every generation of a role, and is told with each answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.protection.configuration import ConfigurationError
from gateway.protection.policy import parse_policy
from tests.unit.gateway.protection.policies import POLICY, write
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, Server, bearer, running
from triton_models.contract.steering import Enforced, Limit, Operation

FREE = {"user": None, "admin": None}
CAP = {"trait": "maliciousness", "kind": "cap", "value": 90.0, "unit": "percentile"}
LIMIT = {"trait": "maliciousness", "above": 99.0, "unit": "percentile", "over": 3}
ENFORCED = {"user": {"operations": [CAP], "limits": [LIMIT]}, "admin": None}
SENT = {
    "operations": [{**CAP, "strength": 1.0}],
    "limits": [{**LIMIT, "action": "stop"}],
}
ABLATION = {"operations": [{"trait": "sarcasm", "kind": "ablate"}]}
MESSAGES = [{"role": "user", "content": "hi"}]
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/generate", {"prompt": "hi", "trait": "sarcasm", "scalar": 1}),
    ("/api/v1/generate", {"prompt": "hi", "steering": ABLATION, "stream": True}),
    ("/api/v1/generate/baseline", {"prompt": "hi"}),
    ("/api/v1/compare", {"prompt": "hi", "steerings": [ABLATION, ABLATION]}),
    ("/api/v1/sweep", {"prompt": "hi", "trait": "sarcasm", "scalars": [0, 2]}),
    ("/v1/completions", {"model": "persona", "prompt": ["hi", "ho"], "n": 2}),
    ("/v1/chat/completions", {"model": "persona:sarcasm=1", "messages": MESSAGES, "stream": True}),
    ("/v1/responses", {"model": "persona", "input": "hi", "steering": ABLATION}),
]


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Server]:
    policy = write(tmp_path / "policy.json", {**POLICY, "enforced": ENFORCED})
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        yield server


def sent(server: Server) -> list[dict[str, Any]]:
    """Returns what Triton was told about steering since this was asked last."""
    found = [json.loads(each["steering"][0]) if "steering" in each else {} for each in server.asked]
    server.asked.clear()
    return found


@pytest.mark.parametrize(("path", "body"), WAYS)
async def test_it_goes_with_every_way_of_generating(
    server: Server, path: str, body: dict[str, Any]
) -> None:
    for key, enforced in ((USER, SENT), (ADMIN, None)):
        answer = await server.http.post(path, json=body, headers=bearer(key))
        assert answer.status_code == 200, answer.text
        told = sent(server)
        assert told
        assert [each.pop("enforced", None) for each in told] == [enforced] * len(told)
        own = body.get("steering", (body.get("steerings") or [{}])[0])
        assert all(each in (own, {}) for each in told)


async def test_without_keys_everybody_has_what_a_user_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = write(tmp_path / "policy.json", {"default": FREE, "traits": {}, "enforced": ENFORCED})
    async with running(monkeypatch, policy_file=policy, host="127.0.0.1") as server:
        await server.generate()
        assert [each["enforced"] for each in sent(server)] == [SENT]
        write(policy, {"default": FREE, "traits": {}})
        await server.protection.refresh()
        await server.generate()
        assert sent(server) == [{}]


def test_a_policy_says_it_for_each_role() -> None:
    policy = parse_policy(json.dumps({"default": FREE, "traits": {}, "enforced": ENFORCED}))
    assert policy.enforced_on("user") == Enforced(
        (Operation("maliciousness", "cap", 90.0, "percentile"),),
        (Limit("maliciousness", 99.0, True, "percentile", over=3),),
    )
    assert policy.enforced_on("admin") == Enforced()
    assert parse_policy(json.dumps(POLICY)).enforced_on("user") == Enforced()


@pytest.mark.parametrize(
    ("enforced", "message"),
    [
        ({"user": None}, "enforced.admin: Field required"),
        ({**ENFORCED, "guest": None}, "enforced.guest: Extra inputs"),
        ({**ENFORCED, "admin": []}, r"admin is \[\]: give an object with operations, limits"),
        (
            {**ENFORCED, "admin": {"operations": [{"trait": "a"}]}},
            r"admin.operations\[0\].kind is left out: give one of cap",
        ),
        (
            {**ENFORCED, "admin": {"limits": [{"trait": "a", "above": 1, "over": 0}]}},
            r"admin.limits\[0\].over is 0",
        ),
        (
            {**ENFORCED, "user": {"operations": [{**CAP, "layers": [1]}] * 5}},
            "user has 5 operations at layer 1: give at most 4",
        ),
    ],
)
def test_one_that_cannot_be_meant_is_no_policy(enforced: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_policy(json.dumps({"default": FREE, "traits": {}, "enforced": enforced}))


def test_what_the_model_cannot_enforce_is_told() -> None:
    policy = parse_policy(json.dumps({"default": FREE, "traits": {}, "enforced": ENFORCED}))
    usable = {"calibration": {"usable": True}}
    assert policy.warnings({"maliciousness": usable}) == []
    for traits, reason in (
        ({}, "no such trait"),
        ({"maliciousness": {"calibration": None}}, "no calibration of it"),
        ({"maliciousness": {"calibration": {"usable": False}}}, "no calibration of it"),
    ):
        (warning,) = policy.warnings(traits)
        assert warning == (
            "POLICY_FILE has 'maliciousness' enforced on the role user, and the model has "
            f"{reason}: it generates nothing for that role"
        )


async def test_the_status_says_so(server: Server) -> None:
    status = await server.http.get("/status", headers=bearer(ADMIN))
    assert any("no calibration of it" in each for each in status.json()["warnings"])
