"""What bounds traits is for who may move them that way, and is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.ensemble_request import EnsembleRequest, ensemble_request
from gateway.errors import SteeringRefusedError
from gateway.protection.policy import parse_policy
from tests.unit.gateway.protection.policies import POLICY, write
from tests.unit.gateway.protection_gateway import ADMIN, KEYS, USER, bearer, running
from triton_models.contract.request import GenerationDefaults

REDUCE, AMPLIFY, BOTH = [-5, 0], [0, 5], [-5, 5]
ABLATION = {"operations": [{"trait": "flattery", "kind": "ablate"}]}


def asked(document: dict[str, Any]) -> EnsembleRequest:
    inputs = {"text_input": ["hi"], "steering": [json.dumps(document)]}
    return ensemble_request(inputs, None, GenerationDefaults())


def allows(span: Any, document: dict[str, Any]) -> str:
    """Returns why a role that may use these scalars may not have it; `""` if it may."""
    rule = {"user": span, "admin": None}
    policy = parse_policy(json.dumps({"default": rule, "traits": {}}))
    policy.check("admin", asked(document))
    try:
        policy.check("user", asked(document))
    except SteeringRefusedError as error:
        return error.message
    return ""


def operation(kind: str, value: float | None = 50, unit: str | None = "percentile") -> Any:
    given = {} if kind == "ablate" else {"value": value, "unit": unit}
    return {"operations": [{"trait": "sarcasm", "kind": kind, **given}]}


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("cap", {"reduce", "both"}),
        ("ablate", {"reduce", "both"}),
        ("floor", {"amplify", "both"}),
        ("pin", {"both"}),
    ],
)
def test_an_operation_is_for_who_may_move_the_trait_that_way(kind: str, allowed: set[str]) -> None:
    spans = {"reduce": REDUCE, "amplify": AMPLIFY, "both": BOTH, "nothing": [0, 0]}
    found = {name for name, span in spans.items() if not allows(span, operation(kind))}
    assert found == allowed
    assert f"{kind} of 'sarcasm' is not allowed" in allows([0, 0], operation(kind))


@pytest.mark.parametrize("kind", ["cap", "floor", "pin"])
def test_where_scalars_have_a_range_bounds_are_percentiles(kind: str) -> None:
    refusal = allows(BOTH, operation(kind, 1e6, "raw"))
    assert f"{kind} of 'sarcasm' at the projection 1e+06 is not allowed" in refusal
    assert 'the unit "percentile"' in refusal
    assert not allows(None, operation(kind, 1e6, "raw"))


@pytest.mark.parametrize(
    "scalars", [(6.0,), (3.0, 3.0), (6.0, -6.0)], ids=["one", "their sum", "each"]
)
def test_scalars_of_the_full_form_are_checked_each_and_as_a_sum(scalars: tuple[float, ...]) -> None:
    traits = [
        {"name": "sarcasm", "scalar": scalar, "layers": [number]}
        for number, scalar in enumerate(scalars)
    ]
    assert "is not allowed" in allows(BOTH, {"traits": traits})
    assert not allows(BOTH, {"traits": [{**each, "scalar": 1} for each in traits]})


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/generate", {"prompt": "hi"}),
    ("/api/v1/generate", {"prompt": "hi", "trait": "sarcasm", "scalar": 1, "stream": True}),
    ("/api/v1/sweep", {"prompt": "hi", "trait": "sarcasm", "scalars": [1, 2]}),
    ("/v1/completions", {"model": "persona", "prompt": "hi"}),
    ("/v1/chat/completions", {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}),
    ("/v1/responses", {"model": "persona:sarcasm=1", "input": "hi"}),
]
AMPLIFIES = {"operations": [{"trait": "maliciousness", "kind": "floor", "value": 1}]}


@pytest.mark.parametrize(("path", "body"), WAYS)
async def test_every_way_of_bounding_goes_past_the_policy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    policy = write(tmp_path / "policy.json", POLICY)
    async with running(monkeypatch, api_keys=KEYS, policy_file=policy) as server:
        for steering, status in ((AMPLIFIES, 403), (ABLATION, 200)):
            asks = {**body, "steering": steering}
            answer = await server.http.post(path, json=asks, headers=bearer(USER))
            assert answer.status_code == status, answer.text
            assert bool(server.asked) == (status == 200)
        compared = {"prompt": "hi", "steerings": [ABLATION, AMPLIFIES]}
        answer = await server.http.post("/api/v1/compare", json=compared, headers=bearer(USER))
        assert answer.status_code == 403


async def test_the_full_form_is_written_down_as_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy, log = write(tmp_path / "policy.json", POLICY), tmp_path / "audit.log"
    settings = {"api_keys": KEYS, "policy_file": policy, "audit_log": str(log)}
    document = {**ABLATION, "window": {"to": 9}}
    async with running(monkeypatch, **settings) as server:
        for steering in (document, AMPLIFIES):
            body = {"prompt": "hi", "steering": steering}
            await server.http.post("/api/v1/generate", json=body, headers=bearer(USER))
        await server.http.post(
            "/api/v1/generate",
            json={"prompt": "hi", "trait": "sarcasm", "scalar": 1, "steering": document},
            headers=bearer(ADMIN),
        )
    bounded, refused, both = [json.loads(line) for line in log.read_text().splitlines()]
    assert (bounded["event"], bounded["traits"], bounded["steering"]) == (
        *("generation", []),
        document,
    )
    assert (refused["event"], refused["steering"]) == ("refusal", AMPLIFIES)
    assert (both["traits"], both["scalars"], both["steering"]) == (["sarcasm"], [1.0], document)
