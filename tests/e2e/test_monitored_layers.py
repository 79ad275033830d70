"""Traits read where a request steers, through the real Triton, the gateway and the clients."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai import OpenAI

from launcher.stack import Stack
from persona_client import PersonaClient
from persona_client.triton import TritonPersonaClient
from tests.e2e.command_line import persona
from tests.e2e.comparing import GREEDY, SWEEP
from triton_models.vectors.persona_vector import PersonaVector

READ: dict[str, Any] = {"monitor": ["sarcasm"], "monitor_layers": [2, 3]}
STEERED: dict[str, Any] = {"trait": "sarcasm", "scalar": 1.0, "layers": [2]}
SHORT = {"max_tokens": 8}
BODY = {**GREEDY, **STEERED, **SHORT}


def test_every_client_reads_at_the_layers_that_it_names(stack: Stack, api: httpx.Client) -> None:
    body = {**BODY, **READ}
    read = api.post("/api/v1/generate", json=body).json()["readouts"]["sarcasm"]
    assert set(read) == {"2", "3"}
    prompt, more = body["prompt"], {"temperature": 0.0, **READ, **SHORT}
    with PersonaClient(stack.settings.gateway_url) as client:
        answer = client.generate(prompt, **STEERED, **more)
    with TritonPersonaClient(stack.settings.grpc_address) as triton:
        direct = triton.generate(prompt, traits={"sarcasm": 1.0}, layers=[2], **more)
    with OpenAI(base_url=f"{stack.settings.gateway_url}/v1", api_key="none") as openai:
        steering = {"traits": [{"name": "sarcasm", "scalar": 1.0, "layers": [2]}], **READ}
        chat: Any = openai.chat.completions.create(
            model="persona",
            messages=[{"role": "user", "content": prompt}],
            temperature=0,
            max_tokens=8,
            extra_body={"steering": steering},
        )
    expected = {int(layer): pytest.approx(mean, abs=1e-3) for layer, mean in read.items()}
    for readouts in (answer.readouts, direct.readouts):
        assert readouts is not None
        assert readouts["sarcasm"] == expected
    of_chat = chat.choices[0].model_dump()["steering"]["readouts"]["sarcasm"]
    assert {int(layer): mean for layer, mean in of_chat.items()} == expected


def test_the_score_of_a_sweep_is_read_where_it_steers(
    api: httpx.Client, vectors: dict[str, PersonaVector]
) -> None:
    place = {"layers": [2], "monitor_layers": [2]}
    answers = api.post("/api/v1/sweep", json={**SWEEP, **SHORT, **place}).json()["answers"]
    for answer in answers:
        added = answer["scalar"] * vectors["sarcasm"].norms[2]
        assert set(answer["readouts"]["sarcasm"]) == {"2"}
        assert answer["score"] - answer["net_score"] == pytest.approx(added, abs=0.02)


def test_a_scored_sweep_computes_its_prompt_once(api: httpx.Client) -> None:
    # Only its turns would take the prompt anew, and nobody asks for them.
    prompt = "Which of the two prompts of this test has the most words in it, and is it this one?"
    asked = {**SWEEP, **SHORT, "prompt": prompt, "positions": "response"}
    first, *others = api.post("/api/v1/sweep", json=asked).json()["answers"]
    assert first["score"] is not None
    assert min(each["reused_tokens"] for each in others) > len(prompt.split())
    turns = api.post("/api/v1/sweep", json={**asked, "monitor_tokens": True}).json()["answers"]
    assert {each["reused_tokens"] for each in turns} == {0}
    assert all(each["turn_readouts"] for each in turns)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/api/v1/generate", {**BODY, "monitor_layers": [1]}, "monitor_layers needs monitor"),
        (
            "/api/v1/generate",
            {**BODY, "monitor": ["sarcasm"], "monitor_layers": [9]},
            "'sarcasm' has no layer 9",
        ),
        (
            "/v1/completions",
            {"model": "persona", "prompt": "hi", "steering": {"monitor_layers": [1]}},
            "steering.monitor_layers needs monitor",
        ),
    ],
)
def test_layers_that_cannot_be_read_are_refused(
    api: httpx.Client, path: str, body: dict[str, Any], message: str
) -> None:
    response = api.post(path, json=body)
    assert response.status_code in (400, 422)
    assert message in response.text


def test_the_command_reads_there(stack: Stack) -> None:
    url = stack.settings.gateway_url
    steer = ("--trait", "sarcasm", "--layers", "2", "--monitor-layers", "2", "--max-tokens", "4")
    shown = persona("sweep", "hi", *steer, "--scalars", "0,1", "--json", PERSONA_URL=url)
    assert shown.returncode == 0, shown.stderr
    assert '"2":' in shown.stdout
    refused = persona("generate", "hi", "--monitor-layers", "two", PERSONA_URL=url)
    assert refused.returncode == 2
    assert "--monitor-layers is 'two'" in " ".join(refused.stderr.replace("│", " ").split())
