"""Comparisons and sweeps by the clients and the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import httpx

from launcher.stack import Stack
from persona_client import AnswerChunk, AsyncPersonaClient, PersonaClient, Steering
from persona_client.comparisons import ComparedAnswer, SweptAnswer
from tests.e2e.command_line import persona
from tests.e2e.comparing import COMPARE, PROMPT, SCALARS


def test_the_sync_client_compares_and_sweeps(stack: Stack) -> None:
    with PersonaClient(stack.settings.gateway_url) as client:
        steerings: list[Steering | Mapping[str, float]] = [
            {"sarcasm": 2.0},
            Steering({"flattery": 1.0}, label="kind"),
        ]
        whole = client.compare(PROMPT, steerings, temperature=0.0, seed=1)
        with client.compare_stream(PROMPT, steerings, temperature=0.0, seed=1) as stream:
            items = list(stream)
        assert [each.response for each in stream.whole.all_answers] == [
            each.response for each in whole.all_answers
        ]
        assert {type(item) for item in items} == {AnswerChunk, ComparedAnswer}
        assert whole.answers[1].label == "kind"
        assert client.compare(PROMPT, steerings, baseline=False, max_tokens=2).baseline is None
        sweep = client.sweep(PROMPT, trait="sarcasm", scalars=SCALARS, scores=True, temperature=0.0)
        assert [each.scalar for each in sweep.answers] == SCALARS
        assert sweep.answers[-1].response == whole.answers[0].response


async def test_the_async_client_compares_and_sweeps(stack: Stack) -> None:
    async with AsyncPersonaClient(stack.settings.gateway_url) as client:
        compared = await client.compare(PROMPT, [{"sarcasm": 2.0}], temperature=0.0)
        async with client.sweep_stream(
            PROMPT, trait="sarcasm", scalars=[2.0], temperature=0.0
        ) as stream:
            items = [item async for item in stream]
        assert isinstance(items[-1], SweptAnswer)
        assert stream.whole.answers[0].response == compared.answers[0].response


def test_the_command_line_compares_several_steerings(stack: Stack, api: httpx.Client) -> None:
    steered = ("--steer", "sarcasm=2", "--steer", "sarcasm=1,flattery=1")
    done = persona(
        "compare", PROMPT, *steered, "--temperature", "0", PERSONA_URL=stack.settings.gateway_url
    )
    assert done.returncode == 0, done.stderr
    body = api.post("/api/v1/compare", json=COMPARE).json()
    shown = [body["baseline"], body["answers"][0], body["answers"][2]]
    assert done.stdout == "\n".join(f"{each['label']}\n{each['response']}\n" for each in shown)
    whole = persona(
        "compare",
        PROMPT,
        *steered,
        "--no-baseline",
        "--json",
        PERSONA_URL=stack.settings.gateway_url,
    )
    assert [each["label"] for each in json.loads(whole.stdout)] == [
        "sarcasm +2",
        "sarcasm +1, flattery +1",
    ]


def test_the_command_line_sweeps_and_plots(stack: Stack, tmp_path: Path) -> None:
    plot = tmp_path / "sweep.png"
    options = ("--trait", "sarcasm", "--temperature", "0", "--positions", "response")
    done = persona(
        "sweep", PROMPT, *options, "--plot", str(plot), PERSONA_URL=stack.settings.gateway_url
    )
    assert done.returncode == 0, done.stderr
    scores = [float(line.split()[1]) for line in done.stdout.splitlines() if "│" in line]
    assert scores == sorted(scores)
    assert len(scores) == 5
    assert plot.read_bytes().startswith(b"\x89PNG")
    whole = json.loads(
        persona("sweep", PROMPT, *options, "--json", PERSONA_URL=stack.settings.gateway_url).stdout
    )
    assert [each["scalar"] for each in whole["answers"]] == SCALARS
    refused = persona(
        "sweep", PROMPT, "--trait", "rudeness", PERSONA_URL=stack.settings.gateway_url
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
