"""What a policy enforces on a role, with the real engine: no request loosens it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from launcher.stack import Stack
from persona_client import Condition, Limit, Operation, PersonaClient, Steering, Window
from tests.e2e.protection.guarded_gateway import BODY, gateway_url, new_key
from tests.e2e.test_metrics import Metrics
from tests.e2e.waiting import eventually

FREE = {"user": None, "admin": None}
PIN = {"trait": "sarcasm", "kind": "pin", "value": -9.0, "layers": [1]}
LIMIT = {"trait": "flattery", "above": 15.0, "over": 2}
ENFORCED = {"user": {"operations": [PIN], "limits": [LIMIT]}, "admin": None}
NEVER = Condition("sarcasm", above=1e6)
PROMPT = str(BODY["prompt"])
COMMON: dict[str, Any] = {"monitor": ["sarcasm"], "temperature": 0.0, "max_tokens": 8}


class Gateway:
    """A gateway with a policy that enforces something, and a key for each role."""

    def __init__(self, url: str, policy: Path, user: str, admin: str) -> None:
        self.url, self.policy = url, policy
        self.user, self.admin = user, admin

    def status(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.admin}"}
        found: dict[str, Any] = httpx.get(f"{self.url}/status", headers=headers).json()
        return found


def policy_of(enforced: Any) -> str:
    return json.dumps({"default": FREE, "traits": {}, "enforced": enforced})


@pytest.fixture(scope="module")
def gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("enforcing")
    (user, first), (admin, second) = new_key("alice", "user"), new_key("root", "admin")
    keys, policy = folder / "keys.json", folder / "policy.json"
    keys.write_text(json.dumps([first, second]))
    policy.write_text(policy_of(ENFORCED))
    variables = {"API_KEYS_FILE": str(keys), "POLICY_FILE": str(policy)}
    with gateway_url(stack, folder, **variables) as url:
        yield Gateway(url, policy, user, admin)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"steering": Steering({"sarcasm": 2.0})},
        {"steering": Steering({"sarcasm": 2.0}, when=NEVER)},
        {"steering": Steering({"sarcasm": 2.0}, positions="response", window=Window(0, 1))},
        {"steering": Steering({}, operations=[Operation("sarcasm", "pin", 20, layers=[1])] * 4)},
    ],
    ids=["nothing", "more", "never", "one token", "full"],
)
def test_every_answer_of_the_role_is_bounded_and_says_so(
    gateway: Gateway, asked: dict[str, Any]
) -> None:
    means = {}
    for key in (gateway.user, gateway.admin):
        with (
            PersonaClient(gateway.url, api_key=key) as client,
            client.stream(PROMPT, **COMMON, **asked) as answer,
        ):
            list(answer)
        assert answer.completion.readouts is not None
        means[key] = answer.completion.readouts["sarcasm"][1]
        assert bool(answer.completion.enforced) == (key == gateway.user)
    assert means[gateway.user] == pytest.approx(-9.0, abs=1e-3)
    assert means[gateway.admin] != pytest.approx(-9.0, abs=1.0)


def test_a_limit_ends_what_a_user_amplifies_and_not_what_an_admin_does(gateway: Gateway) -> None:
    own = [Limit("flattery", below=-1e6), Limit("flattery", above=-1e6, action="report")]
    steerings = [Steering({"flattery": 3.0}, limits=own), Steering({"flattery": -3.0})]
    for key, reason in ((gateway.user, "trait_limit"), (gateway.admin, "length")):
        with PersonaClient(gateway.url, api_key=key) as client:
            found = client.compare(PROMPT, steerings, temperature=0.0, max_tokens=8)
        amplified, reduced = found.answers
        assert (amplified.finish_reason, reduced.finish_reason) == (reason, "length")
        assert found.baseline is not None
        assert found.baseline.finish_reason == "length"
        told = [(each.limit.action, each.enforced) for each in amplified.limits_reached]
        ended = [("stop", True)] if key == gateway.user else []
        assert told == [("report", False), *ended]
        assert amplified.tokens_generated == (
            amplified.limits_reached[-1].token + 1 if ended else 8
        )


@pytest.mark.parametrize("stream", [False, True])
def test_openais_clients_see_a_filter(gateway: Gateway, stack: Stack, stream: bool) -> None:
    before = Metrics(stack).get("persona_limits_reached_total", trait="flattery", action="stop")
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.user, max_retries=0) as client:
        answer: Any = client.chat.completions.create(
            model="persona:flattery=3",
            messages=[{"role": "user", "content": PROMPT}],
            max_tokens=8,
            temperature=0,
            stream=stream,
        )
        choice = [each.choices[0] for each in answer][-1] if stream else answer.choices[0]
        response = client.responses.create(
            model="persona:flattery=3", input=PROMPT, max_output_tokens=8, temperature=0
        )
    assert choice.finish_reason == "content_filter"
    (reached,) = choice.steering["limits_reached"]
    assert (reached["trait"], reached["enforced"], reached["bound"]) == ("flattery", True, 15.0)
    assert choice.steering["enforced"]["operations"][0]["kind"] == "pin"
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"

    def counted() -> float:
        return Metrics(stack).get("persona_limits_reached_total", trait="flattery", action="stop")

    assert eventually(lambda: counted() == before + 2)


def test_what_the_model_cannot_enforce_is_no_answer_for_that_role(gateway: Gateway) -> None:
    missing = {"operations": [{"trait": "boldness", "kind": "ablate"}]}
    try:
        gateway.policy.write_text(policy_of({"user": missing, "admin": None}))
        assert eventually(lambda: "warnings" in gateway.status())
        (warning,) = gateway.status()["warnings"]
        assert "'boldness' enforced on the role user, and the model has no such trait" in warning
        for key, status in ((gateway.user, 500), (gateway.admin, 200)):
            answer = httpx.post(
                f"{gateway.url}/api/v1/generate/baseline",
                json=BODY,
                headers={"Authorization": f"Bearer {key}"},
            )
            assert answer.status_code == status
            assert ("the policy enforces cannot be applied" in answer.text) == (status == 500)
    finally:
        gateway.policy.write_text(policy_of(ENFORCED))
    assert eventually(lambda: "warnings" not in gateway.status())
