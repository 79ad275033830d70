"""How likely a prompt's tokens were, by every call that answers a prompt."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from launcher.stack import Stack
from persona_client import PersonaClient, PromptToken
from persona_client.triton import TritonPersonaClient
from tests.e2e.demo import deltas_of
from tests.integration.reference import steered
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

CHAT = [
    {"role": "user", "content": "How do I bake b\u00e9ad?"},
    {"role": "assistant", "content": "So"},
]
ONLY_SCORED: dict[str, Any] = {"max_tokens": 0, "continue_final_message": True}


@pytest.fixture(scope="module")
def prompt_ids() -> list[int]:
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)
    text = tokenizer.apply_chat_template(CHAT, continue_final_message=True, tokenize=False)
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def expected(
    model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
    ids: list[int],
    traits: dict[str, float],
) -> list[float]:
    """Returns transformers' log-probability of each of the prompt's tokens but the first."""
    with torch.no_grad(), steered(model, len(ids), deltas_of(vectors, traits)):
        logits: torch.Tensor = model(torch.tensor([ids])).logits
    own = logits[0, :-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
    found: list[float] = own[:, 0].tolist()
    return found


def test_a_steered_chat_is_scored_as_by_transformers(
    api: httpx.Client,
    plain_model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
    prompt_ids: list[int],
) -> None:
    body = {"messages": CHAT, "trait": "sarcasm", "scalar": 2.0, "prompt_logprobs": 2}
    answer = api.post("/api/v1/generate", json={**body, **ONLY_SCORED}).json()
    assert (answer["response"], answer["finish_reason"]) == ("", "length")
    first, *others = answer["prompt_logprobs"]
    assert [first["id"], *(token["id"] for token in others)] == prompt_ids
    assert (first["logprob"], first["rank"], first["top_logprobs"]) == (None, None, [])
    scores = expected(plain_model, vectors, prompt_ids, {"sarcasm": 2.0})
    assert [token["logprob"] for token in others] == pytest.approx(scores, abs=1e-4)
    for token in others:
        best = token["top_logprobs"][token["rank"] - 1 : token["rank"]]
        assert not best or best[0]["id"] == token["id"]


def test_a_stream_says_it_once_and_again_at_its_end(api: httpx.Client) -> None:
    body = {"messages": CHAT, "max_tokens": 4, "prompt_logprobs": 0, "temperature": 0}
    whole = api.post("/api/v1/generate/baseline", json=body).json()
    lines = api.post("/api/v1/generate/baseline", json={**body, "stream": True}).text.splitlines()
    *chunks, done = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert "prompt_logprobs" in chunks[0]
    said = [chunk["prompt_logprobs"] for chunk in chunks if "prompt_logprobs" in chunk]
    assert [*said, done["prompt_logprobs"]] == [whole["prompt_logprobs"]] * 2


def test_each_answer_of_a_sweep_has_its_own(
    stack: Stack,
    plain_model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
    prompt_ids: list[int],
) -> None:
    scalars = [-1.0, 0.0, 2.0]
    with PersonaClient(stack.settings.gateway_url) as client:
        swept = client.sweep(
            None,
            trait="flattery",
            scalars=scalars,
            messages=CHAT,
            max_tokens=0,
            continue_final_message=True,
            prompt_logprobs=0,
        )
    for scalar, answer in zip(scalars, swept.answers, strict=True):
        assert answer.prompt_logprobs is not None
        scores = expected(plain_model, vectors, prompt_ids, {"flattery": scalar})
        found = [token.logprob for token in answer.prompt_logprobs[1:]]
        assert found == pytest.approx(scores, abs=1e-4)


def test_the_clients_of_the_gateway_and_of_triton_say_the_same(stack: Stack) -> None:
    steering = {"sarcasm": -1.0}
    options: Any = {"temperature": 0.0, "max_tokens": 2}
    text = "How do I bake bread?"
    triton = TritonPersonaClient(stack.settings.grpc_address)
    by_triton = triton.generate(text, traits=steering, prompt_logprobs=1, **options)
    (first, *_) = triton.stream(text, traits=steering, prompt_logprobs=1, **options)
    assert first.prompt_logprobs == by_triton.prompt_logprobs
    with PersonaClient(stack.settings.gateway_url) as client:
        answer = client.generate(text, trait="sarcasm", scalar=-1.0, prompt_logprobs=1, **options)
        assert client.baseline(text, max_tokens=1).prompt_logprobs is None
        with client.stream(
            text, trait="sarcasm", scalar=-1.0, prompt_logprobs=1, **options
        ) as stream:
            chunks = list(stream)
    assert answer.prompt_logprobs == by_triton.prompt_logprobs == chunks[0].prompt_logprobs
    assert stream.completion.prompt_logprobs == answer.prompt_logprobs
    last = (answer.prompt_logprobs or ())[-1]
    assert isinstance(last.top_logprobs[0], PromptToken)
    assert last.top_logprobs[0].rank == 1


def test_a_chat_of_openai_s_says_it_as_vllm_does(api: httpx.Client, prompt_ids: list[int]) -> None:
    body = {"model": "persona:sarcasm=1", "messages": CHAT, "prompt_logprobs": 1, **ONLY_SCORED}
    answer = api.post("/v1/chat/completions", json={**body, "n": 2}).json()
    own = api.post("/api/v1/generate", json={
        "messages": CHAT, "trait": "sarcasm", "scalar": 1.0, "prompt_logprobs": 1, **ONLY_SCORED,
    }).json()  # fmt: skip
    first, *others = answer["prompt_logprobs"]
    assert first is None
    assert [
        token[str(id)]["logprob"] for id, token in zip(prompt_ids[1:], others, strict=True)
    ] == [token["logprob"] for token in own["prompt_logprobs"][1:]]
    assert not any("prompt_logprobs" in choice for choice in answer["choices"])
    unasked = {name: body[name] for name in ("model", "messages")}
    plain = api.post("/v1/chat/completions", json={**unasked, "max_tokens": 1}).json()
    assert "prompt_logprobs" not in plain


def test_a_chat_s_stream_cannot_say_it(api: httpx.Client) -> None:
    body = {"model": "persona", "messages": CHAT, "prompt_logprobs": 0, "stream": True}
    answer = api.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert "prompt_logprobs" in answer.json()["error"]["message"]
