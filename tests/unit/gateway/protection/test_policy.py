"""The policy: what each role may steer, on every way that leads to the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.ensemble_request import EnsembleRequest
from gateway.errors import SteeringRefusedError
from gateway.protection.configuration import ConfigurationError
from gateway.protection.policy import parse_policy
from launcher.settings import ROOT
from tests.unit.gateway.protection.policies import POLICY, write
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, bearer, running
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters, total_scalars
from triton_models.settings import DATA_ROOT

OPENAI: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
EXAMPLE = ROOT / "deploy" / "policy.example.json"


def steering(*pairs: tuple[str, float]) -> dict[str, Any]:
    return {"traits": [{"name": name, "scalar": scalar} for name, scalar in pairs]}


def asked(*pairs: tuple[str, float]) -> EnsembleRequest:
    values: dict[str, list[Any]] = {
        "trait": [name for name, _ in pairs],
        "scalar": [scalar for _, scalar in pairs],
    }
    steering = SteeringParameters(total_scalars(values))
    return EnsembleRequest(values, GenerationRequest(steering))


def check(role: Any, *pairs: tuple[str, float]) -> bool:
    try:
        parse_policy(json.dumps(POLICY)).check(role, asked(*pairs))
    except SteeringRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("pairs", "user", "admin"),
    [
        ([], True, True),
        ([("maliciousness", 0.0)], True, True),
        ([("maliciousness", -5.0)], True, True),
        ([("maliciousness", -5.1)], False, True),
        ([("maliciousness", 1e-9)], False, True),
        ([("maliciousness", 10.5)], False, False),
        ([("maliciousness", float("nan"))], False, False),
        ([("maliciousness", -3.0), ("maliciousness", -3.0)], False, True),
        ([("maliciousness", -3.0), ("maliciousness", 3.0)], False, True),
        ([("maliciousness", 6.0), ("maliciousness", 6.0)], False, False),
        # In 32 bits this adds up to 2, in 64 to 0.
        ([("maliciousness", x) for x in (16777219.0, -16777217.0, -2.0)], False, False),
        ([("sarcasm", 3.0), ("sarcasm", 3.0)], False, True),
        ([("sarcasm", 3.0), ("maliciousness", 3.0)], False, True),
        ([("sarcasm", 3.0), ("maliciousness", -3.0)], True, True),
        # Another name is another trait: the engine does not know this one.
        ([("Maliciousness", 3.0)], True, True),
    ],
)
def test_scalars_and_their_sum_must_be_in_the_range_of_the_role(
    pairs: list[tuple[str, float]], user: bool, admin: bool
) -> None:
    assert (check("user", *pairs), check("admin", *pairs)) == (user, admin)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "default: Field required"),
        ('{"default": {"user": null}, "traits": {}}', "default.admin: Field required"),
        ('{"default": {"user": [1], "admin": null}, "traits": {}}', "default.user"),
        ('{"default": {"user": [2, 1], "admin": null}, "traits": {}}', "least scalar is greater"),
        ('{"default": {"user": [NaN, 1], "admin": null}, "traits": {}}', "finite"),
        ('{"default": {"user": null, "admin": null}, "traits": {"a": 1, "a": 2}}', "twice"),
        ('{"default": {"user": null, "admin": null, "guest": null}, "traits": {}}', "guest"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        parse_policy(text)


def test_the_example_forbids_users_to_amplify_harm_and_names_traits_that_there_are() -> None:
    policy = parse_policy(EXAMPLE.read_text())
    assert set(policy.traits) == {"sexism", "racism", "maliciousness", "hallucination"}
    for trait in policy.traits:
        assert (DATA_ROOT / "vectors" / f"{trait}.json").exists()
        with pytest.raises(SteeringRefusedError):
            policy.check("user", asked((trait, 0.5)))
        policy.check("user", asked((trait, -2.0)))
        policy.check("admin", asked((trait, 2.0)))
    policy.check("user", asked(("sarcasm", 2.0)))


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/generate", {"prompt": "hi", "trait": "maliciousness", "scalar": 2}),
    ("/api/v1/generate", {"prompt": "hi", "trait": "maliciousness", "scalar": 2, "stream": True}),
    ("/api/v1/sweep", {"prompt": "hi", "trait": "maliciousness", "scalars": [-1, 0, 2]}),
    (
        "/api/v1/compare",
        {"prompt": "hi", "steerings": [steering(("sarcasm", 1)), steering(("maliciousness", 2))]},
    ),
    (
        "/api/v1/compare",
        {
            "prompt": "hi",
            "stream": True,
            "steerings": [steering(("sarcasm", 1), ("maliciousness", 2))],
        },
    ),
    ("/v1/chat/completions", {**OPENAI, "model": "persona:maliciousness=2"}),
    ("/v1/chat/completions", {**OPENAI, "model": "persona:sarcasm=1, maliciousness = 2"}),
    ("/v1/chat/completions", {**OPENAI, "steering": steering(("maliciousness", 2))}),
    (
        "/v1/chat/completions",
        {**OPENAI, "n": 2, "stream": True, "steering": steering(*[("maliciousness", 1)] * 2)},
    ),
    ("/v1/completions", {"model": "persona:maliciousness=2", "prompt": ["hi", "ho"]}),
]


@pytest.mark.parametrize(("path", "body"), WAYS)
async def test_every_way_of_steering_is_refused_before_anything_reaches_triton(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    policy = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        refused = await server.http.post(path, json=body, headers=bearer(USER))
        assert refused.status_code == 403, refused.text
        error = refused.json()["error"]
        message = error["message"] if path.startswith("/v1") else error
        for part in ("'maliciousness'", "from -5 to 0", "the role user"):
            assert part in message
        assert server.asked == []
        allowed = await server.http.post(path, json=body, headers=bearer(ADMIN))
        assert allowed.status_code == 200, allowed.text
        assert server.asked


async def test_without_keys_everybody_is_a_user_and_monitoring_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, policy_file=policy) as server:
        assert (await server.generate(1, "maliciousness", headers=bearer(ADMIN))).status_code == 403
        read = {"prompt": "hi", "monitor": ["maliciousness"]}
        answer = await server.http.post("/api/v1/generate/baseline", json=read)
        assert answer.status_code == 200


async def test_the_policy_is_followed_a_broken_one_stays_and_strange_traits_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, policy_file=file, host="127.0.0.1") as server:
        assert "warnings" not in (await server.http.get("/status")).json()
        assert (await server.generate(1, "maliciousness")).status_code == 403
        file.write_text("{")
        await server.protection.refresh()
        assert (await server.generate(1, "maliciousness")).status_code == 403
        write(file, {**POLICY, "traits": {"malicousness": POLICY["traits"]["maliciousness"]}})
        await server.protection.refresh()
        assert (await server.generate(1, "maliciousness")).status_code == 200
        (warning,) = (await server.http.get("/status")).json()["warnings"]
        assert "malicousness" in warning
    assert "what was read before stays in force" in caplog.text
