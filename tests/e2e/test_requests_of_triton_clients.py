"""What clients of other models on Triton send to `generate`, and seeds of either sign."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from launcher.stack import Stack
from persona_client.rest import PersonaClient
from persona_client.triton import TritonPersonaClient
from tests.e2e.command_line import persona
from tests.e2e.triton_inputs import GREEDY, PROMPT

FLAT: dict[str, Any] = {"temperature": 0.0, "max_tokens": 4, "stream": False}
HOT: dict[str, Any] = {"temperature": 1.9, "top_p": 1.0, "max_tokens": 12}


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    settings = stack.settings
    return f"http://{settings.triton_host}:{settings.triton_http_port}/v2/models/persona"


def generate(url: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{url}/generate", json={"text_input": PROMPT, **body}, timeout=60)


def text_of(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["text_output"])


def test_empty_words_ask_for_nothing_and_unknown_inputs_are_named(url: str) -> None:
    plain = text_of(generate(url, **FLAT))
    assert text_of(generate(url, **FLAT, stop_words="")) == plain
    assert text_of(generate(url, **FLAT, stop_words=["", ""])) == plain
    refused = generate(url, **FLAT, stop_words="", bad_words="")
    assert refused.status_code == 400
    assert "unknown input 'bad_words'" in refused.json()["error"]


def test_nested_parameters_are_those_beside_the_text(url: str) -> None:
    assert text_of(generate(url, parameters=FLAT)) == text_of(generate(url, **FLAT))
    refused = generate(url, parameters={**FLAT, "max_token": 4})
    assert refused.status_code == 400
    assert "unknown input 'max_token'" in refused.json()["error"]


def test_lists_of_several_elements_reach_the_model(url: str) -> None:
    plain = text_of(generate(url, **GREEDY))
    traits = {"trait": ["sarcasm", "flattery"], "scalar": [1.0, 1.0]}
    both = text_of(generate(url, **GREEDY, **traits))
    alone = text_of(generate(url, **GREEDY, trait=["sarcasm"], scalar=[1.0]))
    assert len({plain, both, alone}) == 3
    words = [plain.split()[4], plain.split()[2]]
    cut = text_of(generate(url, **GREEDY, stop_words=words))
    assert cut == plain[: min(plain.index(word) for word in words)]


def test_ends_can_be_ignored(url: str) -> None:
    short = generate(url, **GREEDY, max_tokens=150).json()
    long = generate(url, **GREEDY, max_tokens=150, ignore_eos=True).json()
    assert (short["finish_reason"], long["finish_reason"]) == ("stop", "length")
    assert long["num_output_tokens"] == 150 > short["num_output_tokens"]
    assert long["text_output"].startswith(short["text_output"])


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**64 - 1])
def test_a_seed_means_the_same_to_every_client(stack: Stack, url: str, seed: int) -> None:
    unsigned = seed % 2**64
    expected = text_of(generate(url, **HOT, seed=unsigned))
    nested = json.dumps({"seed": seed})
    assert text_of(generate(url, **HOT, sampling_parameters=nested)) == expected
    with PersonaClient(stack.settings.gateway_url) as client:
        assert client.baseline(PROMPT, **HOT, seed=seed).response == expected
    triton = TritonPersonaClient(stack.settings.grpc_address)
    assert triton.generate(PROMPT, **HOT, seed=seed).response == expected
    options = [f"--seed={seed}", "--temperature=1.9", "--top-p=1", "--max-tokens=12"]
    url = stack.settings.gateway_url
    printed = persona("generate", PROMPT, *options, "--json", "--url", url).stdout
    assert json.loads(printed)["response"] == expected


def test_triton_itself_refuses_a_negative_seed(url: str) -> None:
    refused = generate(url, **HOT, seed=-1)
    assert not refused.is_success
    assert "unsigned" in refused.json()["error"]
