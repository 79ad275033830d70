"""Limits in the client and its command: asked for, reached, and the policy's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.api.steering_fields import SteeringFields
from gateway.settings import Settings
from persona_client import Enforced, Limit, LimitReached, Operation, Steering
from persona_client.cli.app import app
from persona_client.results import Completion
from tests.unit.client.test_standard_input import Gateway
from tests.unit.gateway.protection_gateway import ANSWER, running
from tests.unit.gateway.served_gateway import served

LIMIT = {"trait": "sarcasm", "above": 99.0, "unit": "percentile", "over": 3}
TOLD = {"layer": 2, "action": "stop", "bound": 4.25, "projection": 4.5, "token": 7}
REACHED = {**LIMIT, **TOLD, "enforced": False}
CAP = {"trait": "sarcasm", "kind": "cap", "value": 90.0, "unit": "percentile", "strength": 1.0}
REPORT = {
    "limits_reached": [REACHED, {**REACHED, "enforced": True, "action": "report", "over": 1}],
    "enforced": {"operations": [{**CAP, "layers": [1]}], "limits": [LIMIT]},
}
STOPPED = replace(ANSWER, finish_reason="trait_limit", report=REPORT)
LINES = (
    "the limit sarcasm above p99 for 3 tokens ended the answer at token 7",
    "the policy's limit sarcasm above p99 was reached at token 7",
)
ENFORCED = "enforced: cap sarcasm p90, stop at sarcasm above p99 for 3 tokens\n"


async def command(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, given: bytes = b""
) -> tuple[str, str, list[dict[str, Any]]]:
    """Returns what a command writes and reports, and the steering that reaches the model."""
    async with running(monkeypatch, STOPPED) as server, served(server.app, Settings()) as port:
        gateway = Gateway(server, f"http://127.0.0.1:{port}")
        status, out, err = await gateway.persona(*arguments, given=given)
        assert status == 0, err
        return out, err, [json.loads(each["steering"][0]) for each in server.asked]


async def test_a_command_says_what_was_reached_and_what_is_enforced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err, asked = await command(
        monkeypatch,
        "generate",
        "hi",
        "--limit",
        "sarcasm>p99:3",
        "--limit",
        "flattery < 2@1:report",
    )
    assert asked == [
        {"limits": [LIMIT, {"trait": "flattery", "below": 2.0, "layer": 1, "action": "report"}]}
    ]
    assert out.endswith("a secret answer\n\n" + "".join(f"{line}\n" for line in LINES))
    assert err == ENFORCED


@pytest.mark.parametrize(
    ("arguments", "titles"),
    [
        (("compare", "hi", "--no-baseline", "--steer", "sarcasm=2"), ["sarcasm +2, stop at"]),
        (("sweep", "hi", "--trait", "sarcasm", "--scalars", "1,2"), ["+1: ", "+2: "]),
    ],
)
async def test_commands_of_several_answers_name_each(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], titles: list[str]
) -> None:
    out, err, asked = await command(monkeypatch, *arguments, "--limit", "sarcasm>p99:3")
    assert [each["limits"] for each in asked] == [[LIMIT]] * len(titles)
    told = [line for line in out.splitlines() if line.endswith(LINES[0])]
    assert [line.startswith(title) for line, title in zip(told, titles, strict=True)] == [
        True
    ] * len(titles)
    assert err == ENFORCED


async def test_a_chat_says_it_beside_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err, asked = await command(monkeypatch, "chat", "--limit", "sarcasm>p99:3", given=b"hi\n")
    assert (out, asked) == ("a secret answer\n", [{"limits": [LIMIT]}])
    assert err.splitlines() == list(LINES)


@pytest.mark.parametrize(
    "limit", ["sarcasm", "sarcasm>", "sarcasm>p99:many", "sarcasm>1:2:stop:3", ">1", "a>1@x", "a>x"]
)
def test_a_limit_that_cannot_be_meant_is_wrong_usage(limit: str) -> None:
    result = CliRunner().invoke(app, ["generate", "hi", "--limit", limit])
    assert result.exit_code == 2


def test_a_program_says_and_reads_the_same() -> None:
    limits = [Limit("sarcasm", above=99, unit="percentile", over=3), Limit("a", below=0, layer=1)]
    steering = Steering({}, limits=limits)
    body = steering.to_json()
    assert SteeringFields(**body).model_dump(exclude_none=True) == body
    completion = Completion.from_json(
        {"response": "", "trait": None, "scalar": 0, "tokens_generated": 1, **REPORT}
    )
    reached = Limit("sarcasm", 99.0, None, "percentile", 2, 3, "stop")
    assert completion.limits_reached[0] == LimitReached(reached, False, 4.25, 4.5, 7)
    assert completion.enforced == Enforced(
        (Operation("sarcasm", "cap", 90.0, "percentile", 1.0, (1,)),),
        (Limit("sarcasm", 99.0, None, "percentile", over=3),),
    )
    assert hash(completion.enforced)
