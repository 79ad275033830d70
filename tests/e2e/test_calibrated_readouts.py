"""Readouts of calibrated traits through the real Triton, the gateway and the clients."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from launcher.stack import Stack
from persona_client import PersonaClient
from persona_client.triton import TritonPersonaClient
from tests.e2e.triton_call import call
from triton_models.model.weights_hash import weights_sha256
from triton_models.settings import DEMO_MODEL_FOLDER

PROMPT = "Tell me about coffee."
GREEDY: dict[str, Any] = {"prompt": PROMPT, "temperature": 0.0, "monitor": ["sarcasm"]}
SCALARS = [-2.0, 0.0, 2.0]


@pytest.fixture(scope="module")
def swept(api: httpx.Client) -> list[dict[str, Any]]:
    """The answers of a sweep, each with what is said of block 1."""
    body = {**GREEDY, "trait": "sarcasm", "scalars": SCALARS}
    answers: list[dict[str, Any]] = api.post("/api/v1/sweep", json=body).json()["answers"]
    return [answer["calibrated_readouts"]["sarcasm"] for answer in answers]


def test_more_of_a_trait_is_nearer_to_its_positive_pole(swept: list[dict[str, Any]]) -> None:
    assert [list(each) for each in swept] == [["1"]] * 3
    low, plain, high = (each["1"] for each in swept)
    assert low["pole"] < 0 < plain["pole"] < 1 < high["pole"]
    assert (low["percentile"], high["percentile"]) == (0, 100)
    assert 0 <= plain["percentile"] <= 100


def test_every_api_says_the_same(
    stack: Stack, api: httpx.Client, swept: list[dict[str, Any]]
) -> None:
    expected = {"sarcasm": swept[2]}
    steering = {"trait": "sarcasm", "scalar": 2.0}
    body = api.post("/api/v1/generate", json={**GREEDY, **steering}).json()
    assert body["calibrated_readouts"] == approximately(expected)
    (answer,) = call(
        stack.settings.grpc_address,
        text_input=PROMPT,
        temperature=0.0,
        monitor=["sarcasm"],
        trait=["sarcasm"],
        scalar=[2.0],
    )
    assert json.loads(answer["report"]) == {"calibrated_readouts": approximately(expected)}
    with OpenAI(base_url=f"{stack.settings.gateway_url}/v1", api_key="none") as openai:
        extra = {
            "steering": {"traits": [{"name": "sarcasm", "scalar": 2.0}], "monitor": ["sarcasm"]}
        }
        choice = openai.chat.completions.create(
            model="persona",
            messages=[{"role": "user", "content": PROMPT}],
            temperature=0,
            extra_body=extra,
        ).choices[0]
        response = openai.responses.create(
            model="persona", input=PROMPT, temperature=0, extra_body=extra
        )
    for found in (choice, response):
        said = found.model_dump()["steering"]["calibrated_readouts"]
        assert said == approximately(expected)


def approximately(readouts: dict[str, dict[str, dict[str, float]]]) -> Any:
    return {
        trait: {block: pytest.approx(mean, abs=1e-3) for block, mean in means.items()}
        for trait, means in readouts.items()
    }


def test_the_clients_read_them(stack: Stack, swept: list[dict[str, Any]]) -> None:
    with PersonaClient(stack.settings.gateway_url) as client:
        rest = client.generate(
            PROMPT, trait="sarcasm", scalar=2.0, temperature=0.0, monitor=["sarcasm"]
        )
        trait = client.trait("sarcasm")
    with TritonPersonaClient(stack.settings.grpc_address) as direct:
        triton = direct.generate(
            PROMPT, traits={"sarcasm": 2.0}, temperature=0.0, monitor=["sarcasm"]
        )
    for answer in (rest, triton):
        mean = answer.calibrated_readouts["sarcasm"][1]
        assert mean.pole == pytest.approx(swept[2]["1"]["pole"], abs=1e-3)
        assert mean.percentile == 100
    assert trait.calibrated


def test_an_answer_without_a_token_of_its_own_has_none(api: httpx.Client) -> None:
    body = api.post("/api/v1/generate/baseline", json={**GREEDY, "max_tokens": 1}).json()
    assert body["readouts"] == {"sarcasm": {}}
    assert "calibrated_readouts" not in body


def test_the_status_says_that_all_shipped_traits_are_calibrated(api: httpx.Client) -> None:
    status = api.get("/status").json()
    assert status["model_info"]["weights_sha256"] == weights_sha256(DEMO_MODEL_FOLDER)
    for trait in status["traits"].values():
        assert trait["calibration"]["usable"] is True
        assert trait["calibration"]["num_answers"] == 300
        means = trait["calibration"]["answer_means"]["1"]
        assert means["negative"] < means["neutral"] < means["positive"]
        assert "calibration" not in trait["metadata"]
