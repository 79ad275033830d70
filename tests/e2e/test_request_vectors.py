"""Vectors in the call, all the way: each client steers by them as by the server's own trait."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from launcher.settings import ROOT
from launcher.stack import Stack
from persona_client import AsyncPersonaClient, PersonaClient
from persona_client.errors import InvalidRequestError
from persona_client.triton import TritonPersonaClient
from tests.e2e.command_line import persona
from tests.e2e.examples import activated, blocks, console_examples, on_ports_of
from triton_models.contract.request_vectors import encoded_vectors
from triton_models.settings import DATA_ROOT
from triton_models.vectors.formats import read_vector, write_vector

PAGE = (ROOT / "docs" / "request-vectors.md").read_text()
PROMPT = "Tell me about quantum computing."
SARCASM = read_vector(DATA_ROOT / "vectors" / "sarcasm.json")
(BLOCK,) = SARCASM.selected_blocks
VECTORS = {"mine": {BLOCK: SARCASM.blocks[BLOCK]}}
ENCODED = encoded_vectors(VECTORS)
STEERING = {"traits": [{"name": "mine", "scalar": 2.0}]}
REQUEST: dict[str, Any] = {"prompt": PROMPT, "temperature": 0, "steering": STEERING}


@pytest.fixture(scope="module")
def expected(api: httpx.Client) -> str:
    """What the trait itself makes of the prompt."""
    body = {"prompt": PROMPT, "temperature": 0, "trait": "sarcasm", "scalar": 2.0}
    answer: str = api.post("/api/v1/generate", json=body).json()["response"]
    plain = api.post("/api/v1/generate/baseline", json={"prompt": PROMPT, "temperature": 0})
    assert answer != plain.json()["response"]
    return answer


def test_the_api_takes_them_in_every_form(api: httpx.Client, expected: str) -> None:
    answer = api.post("/api/v1/generate", json={**REQUEST, "vectors": ENCODED})
    assert answer.json()["response"] == expected, answer.text
    file = save({f"mine.{BLOCK}": SARCASM.blocks[BLOCK]})
    parts: dict[str, Any] = {
        "request": (None, json.dumps(REQUEST)),
        "vectors": ("mine.safetensors", file),
    }
    assert api.post("/api/v1/generate", files=parts).json()["response"] == expected
    chat = {
        "model": "persona",
        "temperature": 0,
        "messages": [{"role": "user", "content": PROMPT}],
        "steering": {**STEERING, "vectors": ENCODED},
    }
    said = api.post("/v1/chat/completions", json=chat).json()
    assert said["choices"][0]["message"]["content"] == expected
    compared = {**REQUEST, "vectors": ENCODED, "steerings": [STEERING], "monitor": ["mine"]}
    del compared["steering"]
    answers = api.post("/api/v1/compare", json=compared).json()
    assert answers["answers"][0]["response"] == expected
    readouts = [
        each["readouts"]["mine"][str(BLOCK)] for each in [answers["baseline"], *answers["answers"]]
    ]
    assert readouts[0] < readouts[1]


def test_the_clients_take_arrays(stack: Stack, address: str, expected: str) -> None:
    with PersonaClient(stack.settings.gateway_url) as client:
        answer = client.generate(PROMPT, trait="mine", scalar=2.0, temperature=0, vectors=VECTORS)
        assert answer.response == expected
        sweep = client.sweep(
            PROMPT, trait="mine", scalars=[0, 2.0], temperature=0, vectors=VECTORS, scores=True
        )
        assert sweep.answers[1].response == expected
        with pytest.raises(InvalidRequestError, match=r"vectors\.sarcasm has the name of a trait"):
            client.generate(PROMPT, trait="sarcasm", scalar=1, vectors={"sarcasm": VECTORS["mine"]})
    with TritonPersonaClient(address) as triton:
        answer = triton.generate(PROMPT, traits={"mine": 2.0}, temperature=0, vectors=VECTORS)
        assert answer.response == expected


async def test_one_name_can_mean_many_vectors_at_once(stack: Stack, expected: str) -> None:
    opposite = {"mine": {BLOCK: -SARCASM.blocks[BLOCK]}}
    async with AsyncPersonaClient(stack.settings.gateway_url) as client:
        answers = await asyncio.gather(
            *(
                client.generate(PROMPT, trait="mine", scalar=2.0, temperature=0, vectors=vectors)
                for vectors in (VECTORS, opposite) * 4
            )
        )
    assert [answer.response == expected for answer in answers] == [True, False] * 4


def test_the_command_reads_a_file(stack: Stack, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    write_vector(dataclasses.replace(SARCASM, trait_name="other"), file)
    done = persona(
        *(
            "generate",
            PROMPT,
            "--temperature",
            "0",
            "--steer",
            "mine=2",
            "--vector",
            f"mine={file}",
        ),
        PERSONA_URL=stack.settings.gateway_url,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{expected}\n"


def test_the_model_server_refuses_what_does_not_fit_it(api: httpx.Client) -> None:
    narrow = encoded_vectors({"mine": {BLOCK: np.ones(3)}})
    answer = api.post("/api/v1/generate", json={**REQUEST, "vectors": narrow})
    assert answer.status_code == 400
    assert "vectors.mine: its vectors have 3 elements, but the model's hidden size" in answer.text


@pytest.mark.parametrize(("command", "output"), console_examples(PAGE))
def test_the_documented_commands_give_what_they_show(
    stack: Stack, command: str, output: str
) -> None:
    done = subprocess.run(
        ["bash", "-c", on_ports_of(stack.settings, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=activated(stack.settings),
    )
    assert done.stdout.strip() == output, done.stderr


def test_the_documented_program_runs(stack: Stack, tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "python")
    script = tmp_path / "example.py"
    script.write_text(on_ports_of(stack.settings, block))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "stop"], done.stderr
