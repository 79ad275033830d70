"""What a request can be told besides its text: logprobs, readouts, how much was reused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

from launcher.stack import Stack
from persona_client import AsyncPersonaClient, PersonaClient
from persona_client.triton import TritonPersonaClient
from tests.e2e.demo import deltas_of
from tests.e2e.held_engine import pieces_of
from tests.e2e.triton_call import Call, call
from tests.integration.reference import steered
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

PROMPT = "How do I bake bread?"
TOLERANCE = 1e-3
STEERING = {"sarcasm": 1.5, "flattery": -0.5}
STEERED: dict[str, Any] = {
    "temperature": 0.0,
    "trait": list(STEERING),
    "scalar": list(STEERING.values()),
}


@pytest.fixture(scope="module")
def prompt_ids() -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL_FOLDER)
    ids: list[int] = tokenizer(PROMPT)["input_ids"]
    return ids


class Reference:
    """A plain forward pass over a prompt and its answer, under plain hooks.

    Attributes:
        logprobs: float32 [tokens, vocabulary]: of the token after each one.
        states: For each block its output, float32 [tokens, hidden].
    """

    def __init__(
        self, model: Qwen2ForCausalLM, ids: list[int], num_prompt: int, deltas: Mapping[int, Any]
    ) -> None:
        self.states: dict[int, torch.Tensor] = {}
        with torch.no_grad(), steered(model, num_prompt, deltas, "all"):
            # After those that steer: what they add is read too.
            handles = [
                block.register_forward_hook(self._keep(index))
                for index, block in enumerate(model.model.layers)
            ]
            logits = model(torch.tensor([ids])).logits[0]
        for handle in handles:
            handle.remove()
        self.logprobs = torch.log_softmax(logits.float(), dim=-1)

    def _keep(self, index: int) -> Any:
        def hook(_module: Any, _args: Any, output: torch.Tensor) -> None:
            self.states[index] = output[0]

        return hook


def test_logprobs_are_what_transformers_computes(
    address: str,
    prompt_ids: list[int],
    plain_model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
) -> None:
    for steering in ({}, STEERED):
        (answer,) = call(
            address,
            "steered_qwen",
            **{"temperature": 0.0, **steering},
            input_ids=prompt_ids,
            max_tokens=30,
            logprobs=20,
        )
        ids = answer["output_ids"]
        deltas = deltas_of(vectors, STEERING if steering else {})
        reference = Reference(plain_model, prompt_ids + ids, len(prompt_ids), deltas)
        expected = reference.logprobs[len(prompt_ids) - 1 : -1]
        chosen = expected.gather(1, torch.tensor(ids)[:, None])[:, 0]
        np.testing.assert_allclose(answer["output_logprobs"], chosen, atol=TOLERANCE)

        top = np.reshape(answer["top_logprobs"], (len(ids), 20))
        np.testing.assert_allclose(top, expected.topk(20).values, atol=TOLERANCE)
        top_ids = np.reshape(answer["top_ids"], (len(ids), 20))
        assert top_ids[:, 0].tolist() == ids  # greedy: the likeliest was taken
        of_those = expected.gather(1, torch.from_numpy(top_ids).long())
        np.testing.assert_allclose(top, of_those, atol=TOLERANCE)
        sums = np.exp(top).sum(axis=1)
        assert np.all(sums <= 1 + 1e-5)
        assert np.all(sums > 0.5)


def test_a_sampled_token_has_its_probability_before_temperature_and_filters(
    address: str, prompt_ids: list[int], plain_model: Qwen2ForCausalLM
) -> None:
    (answer,) = call(
        address,
        "steered_qwen",
        input_ids=prompt_ids,
        temperature=1.7,
        top_k=5,
        repetition_penalty=1.3,
        seed=3,
        max_tokens=30,
        min_tokens=30,
        logprobs=0,
    )
    assert (answer["top_ids"], answer["top_logprobs"]) == ([], [])
    ids = answer["output_ids"]
    reference = Reference(plain_model, prompt_ids + ids, len(prompt_ids), {})
    expected = reference.logprobs[len(prompt_ids) - 1 : -1].gather(1, torch.tensor(ids)[:, None])
    np.testing.assert_allclose(answer["output_logprobs"], expected[:, 0], atol=TOLERANCE)


def test_readouts_are_the_projections_of_a_plain_forward_pass(
    address: str,
    prompt_ids: list[int],
    plain_model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
) -> None:
    traits = ["sarcasm", "flattery", "racism"]
    for limits in ({"max_tokens": 12}, {"max_tokens": 60}):
        (answer,) = call(
            address, "steered_qwen", **STEERED, **limits, input_ids=prompt_ids, monitor=traits
        )
        ids = answer["output_ids"]
        deltas = deltas_of(vectors, STEERING)
        reference = Reference(plain_model, prompt_ids + ids, len(prompt_ids), deltas)
        # The last token of an answer is not computed any more, unless it is the end's turn.
        last = len(prompt_ids) + answer["num_output_tokens"] - 1
        readouts = json.loads(answer["readouts"])
        assert list(readouts) == traits
        for trait in traits:
            for block in vectors[trait].selected_blocks:
                vector = torch.from_numpy(vectors[trait].blocks[block])
                projections = reference.states[block] @ (vector / vector.norm())
                mean = projections[len(prompt_ids) : last].mean()
                assert math.isclose(readouts[trait][str(block)], mean, abs_tol=TOLERANCE)


def test_to_be_told_more_does_not_change_the_text(address: str) -> None:
    plain = {**STEERED, "text_input": PROMPT}
    (expected,) = call(address, **plain)
    (answer,) = call(address, **plain, monitor=["sarcasm", "racism"], logprobs=5)
    assert answer["text_output"] == expected["text_output"]
    assert (expected["token_logprobs"], expected["readouts"]) == ("", "")


def test_a_stream_s_logprobs_join_to_those_of_one_response(stack: Stack, address: str) -> None:
    asked = {**STEERED, "text_input": PROMPT, "logprobs": 3, "monitor": ["sarcasm"]}
    (whole,) = call(address, **asked)
    streamed = {**asked, "stream": True}
    chunks = pieces_of(stack.triton, lambda: Call(address, "persona", streamed).responses())
    parts = [json.loads(each["token_logprobs"] or "[]") for each in chunks]
    tokens = json.loads(whole["token_logprobs"])
    assert len(chunks) > 1
    assert [token["token"] for part in parts for token in part] == [
        token["token"] for token in tokens
    ]
    np.testing.assert_allclose(
        [token["logprob"] for part in parts for token in part],
        [token["logprob"] for token in tokens],
        atol=TOLERANCE,
    )
    for chunk, part in zip(chunks, parts, strict=True):
        assert "".join(token["token"] for token in part) == chunk["text_output"]
        assert all(len(token["top_logprobs"]) == 3 for token in part)
    text = bytes(byte for token in tokens for byte in token["bytes"]).decode()
    assert text == whole["text_output"]
    assert [chunk["readouts"] for chunk in chunks[:-1]] == [""] * (len(chunks) - 1)
    assert json.loads(chunks[-1]["readouts"]).keys() == {"sarcasm"}


def test_more_of_a_trait_is_read_where_more_of_it_is_added(address: str) -> None:
    def read(scalar: float) -> float:
        steering: dict[str, Any] = {"trait": "sarcasm", "scalar": scalar}
        (answer,) = call(address, text_input=PROMPT, temperature=0.0, monitor="sarcasm", **steering)
        (mean,) = json.loads(answer["readouts"])["sarcasm"].values()
        return float(mean)

    assert read(-2.0) < read(0.0) < read(2.0)


def test_a_prompt_that_was_computed_before_is_reused(address: str) -> None:
    text = "What is the name of the third planet, and how far away is the sun from it?"
    (first,) = call(address, text_input=text, temperature=0.0)
    (second,) = call(address, text_input=text, temperature=0.0)
    # At least the last token is computed: the answer's first one is chosen from it.
    assert second["num_reused_tokens"] == second["num_input_tokens"] - 1
    assert first["num_reused_tokens"] < second["num_reused_tokens"]
    assert second["text_output"] == first["text_output"]
    (steered_one,) = call(address, **STEERED, text_input=text)
    assert steered_one["num_reused_tokens"] < second["num_reused_tokens"]


def test_an_unknown_trait_to_monitor_is_refused_with_those_there_are(
    address: str, api: httpx.Client
) -> None:
    (answer,) = call(address, text_input=PROMPT, monitor="rudeness")
    assert answer["error_code"] == "not_found"
    assert "the traits are flattery, halluc" in answer["error"]
    body = {"prompt": PROMPT, "monitor": ["rudeness"]}
    refused = api.post("/api/v1/generate/baseline", json=body)
    assert refused.status_code == 400
    assert "the traits are flattery, halluc" in refused.json()["error"]


ASKED: dict[str, Any] = {
    "prompt": PROMPT,
    "temperature": 0.0,
    "max_tokens": 20,
    "logprobs": 2,
    "monitor": ["sarcasm"],
}


@pytest.mark.parametrize("path", ["/api/v1/generate", "/api/v1/generate/baseline"])
def test_the_gateway_passes_all_of_it_on(api: httpx.Client, path: str) -> None:
    steering = {} if path.endswith("baseline") else {"trait": "sarcasm", "scalar": 1.0}
    body = api.post(path, json={**ASKED, **steering}).json()
    assert "".join(token["token"] for token in body["logprobs"]) == body["response"]
    assert {len(token["top_logprobs"]) for token in body["logprobs"]} == {2}
    assert body["readouts"].keys() == {"sarcasm"}
    again = api.post(path, json={**ASKED, **steering}).json()
    assert again["reused_tokens"] == body["prompt_tokens"] - 1
    plain = api.post(path, json={"prompt": PROMPT, **steering}).json()
    assert not {"logprobs", "readouts"} & plain.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprobs": 21}, "logprobs is 21: give an integer from 0 to 20"),
        ({"logprobs": "many"}, "logprobs"),
        ({"monitor": [""]}, "a trait to monitor is empty"),
        ({"monitor": "sarcasm"}, "monitor"),
    ],
)
def test_the_gateway_refuses_what_cannot_be_told(
    api: httpx.Client, change: dict[str, Any], message: str
) -> None:
    answer = api.post("/api/v1/generate/baseline", json={**ASKED, **change})
    assert answer.status_code == 422
    assert message in answer.json()["error"]


async def test_every_client_gives_the_same(stack: Stack) -> None:
    options: Any = {key: value for key, value in ASKED.items() if key != "prompt"}
    triton = TritonPersonaClient(stack.settings.grpc_address)
    direct = triton.generate(PROMPT, traits={"sarcasm": 1.0}, **options)
    chunks = list(triton.stream(PROMPT, traits={"sarcasm": 1.0}, **options))
    with PersonaClient(stack.settings.gateway_url) as client:
        whole = client.generate(PROMPT, trait="sarcasm", scalar=1.0, **options)
        with client.stream(PROMPT, trait="sarcasm", scalar=1.0, **options) as stream:
            streamed = list(stream)
        completion = stream.completion
    async with AsyncPersonaClient(stack.settings.gateway_url) as client:
        awaited = await client.generate(PROMPT, trait="sarcasm", scalar=1.0, **options)
    assert whole.logprobs
    assert whole.readouts
    for each in (direct, completion, awaited):
        assert each.response == whole.response
        assert [token.token for token in each.logprobs or ()] == [t.token for t in whole.logprobs]
        assert each.readouts
        (block,) = whole.readouts["sarcasm"]
        assert math.isclose(
            each.readouts["sarcasm"][block], whole.readouts["sarcasm"][block], abs_tol=TOLERANCE
        )
    for pieces in (chunks, streamed):
        tokens = [token.token for piece in pieces for token in piece.logprobs]
        assert tokens == [token.token for token in whole.logprobs]
