"""Prompts whose tokens' log-probabilities are asked for, as evaluation harnesses do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from tests.e2e.demo import deltas_of
from tests.integration.reference import steered
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

MODELS: list[tuple[str, dict[str, float]]] = [
    ("persona", {}),
    ("persona:sarcasm=2,flattery=-1", {"sarcasm": 2.0, "flattery": -1.0}),
]
CONTEXT = "How do I bake bread?"
CONTINUATIONS = (" Mix flour and water.", " No.", " Oh, what a question, \u00e9\u4e2d!")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)
    return tokenizer


def ids_of(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def expected_logprobs(
    model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
    traits: dict[str, float],
    ids: list[int],
) -> torch.Tensor:
    """Returns transformers' log-probabilities after each token but the last."""
    deltas = deltas_of(vectors, traits)
    with torch.no_grad(), steered(model, len(ids), deltas):
        logits: torch.Tensor = model(torch.tensor([ids])).logits
    return logits[0, :-1].log_softmax(-1)


@pytest.mark.parametrize(("model", "traits"), MODELS)
def test_requests_of_lm_eval_are_scored_as_by_transformers(
    api: httpx.Client,
    plain_model: Qwen2ForCausalLM,
    vectors: dict[str, PersonaVector],
    tokenizer: PreTrainedTokenizerFast,
    model: str,
    traits: dict[str, float],
) -> None:
    prompts = [ids_of(tokenizer, CONTEXT + text) for text in CONTINUATIONS]
    # What `lm_eval --model local-completions` sends for tasks that choose by likelihood.
    body = {
        "model": model,
        "prompt": prompts,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }
    answer = api.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    choices = answer.json()["choices"]
    for ids, text, choice in zip(prompts, CONTINUATIONS, choices, strict=True):
        expected = expected_logprobs(plain_model, vectors, traits, ids)
        likely = choice["logprobs"]
        # Its sums leave out the last token, which it takes for the one that was generated.
        assert len(likely["tokens"]) == len(ids) + 1
        assert likely["token_logprobs"][0] is likely["top_logprobs"][0] is None
        own = expected.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()
        assert likely["token_logprobs"][1:-1] == pytest.approx(own, abs=1e-4)
        best = expected.max(-1).values.tolist()
        top = [max(each.values()) for each in likely["top_logprobs"][1:-1]]
        assert top == pytest.approx(best, abs=1e-4)
        assert choice["text"].startswith(CONTEXT + text)
        for token, offset in zip(likely["tokens"], likely["text_offset"], strict=True):
            starts = choice["text"][offset:].startswith(token)
            assert starts or token.startswith(("bytes:", "<|"))


def test_a_prompt_is_only_scored_with_max_tokens_0(
    api: httpx.Client, tokenizer: PreTrainedTokenizerFast
) -> None:
    ids = ids_of(tokenizer, CONTEXT)
    body = {"model": "persona", "prompt": ids, "max_tokens": 0, "prompt_logprobs": 2}
    answer = api.post("/v1/completions", json=body).json()
    (choice,) = answer["choices"]
    assert (choice["text"], choice["logprobs"], choice["finish_reason"]) == ("", None, "length")
    assert answer["usage"]["completion_tokens"] == 0
    assert answer["usage"]["prompt_tokens"] == len(ids)
    first, *others = choice["prompt_logprobs"]
    assert first is None
    for id, token in zip(ids[1:], others, strict=True):
        assert token[str(id)]["decoded_token"] == tokenizer.decode([id])
        assert {1, 2, token[str(id)]["rank"]} == {each["rank"] for each in token.values()}
    echoed = api.post("/v1/completions", json={**body, "echo": True, "logprobs": 2}).json()
    scored = echoed["choices"][0]["logprobs"]["token_logprobs"]
    pairs = zip(ids[1:], others, strict=True)
    assert scored[1:] == [token[str(id)]["logprob"] for id, token in pairs]


def test_a_stream_says_once_how_likely_the_prompt_was(api: httpx.Client) -> None:
    body: dict[str, Any] = {"model": "persona", "prompt": CONTEXT, "max_tokens": 4}
    body |= {"temperature": 0, "echo": True, "logprobs": 0, "prompt_logprobs": 0}
    (whole,) = api.post("/v1/completions", json=body).json()["choices"]
    lines = api.post("/v1/completions", json={**body, "stream": True}).text.splitlines()
    events = [httpx.Response(200, text=line[6:]).json() for line in lines if "choices" in line]
    choices = [event["choices"][0] for event in events]
    said = [choice for choice in choices if "prompt_logprobs" in choice]
    assert [choice["prompt_logprobs"] for choice in said] == [whole["prompt_logprobs"]]
    tokens = [
        token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["tokens"]
    ]
    assert tokens == whole["logprobs"]["tokens"]


def test_token_ids_are_continued_as_the_text_is(
    api: httpx.Client, tokenizer: PreTrainedTokenizerFast
) -> None:
    body = {"model": "persona", "max_tokens": 8, "temperature": 0}
    prompts = [CONTEXT, ids_of(tokenizer, CONTEXT)]
    answer = api.post("/v1/completions", json={**body, "prompt": prompts}).json()
    text, ids = (choice["text"] for choice in answer["choices"])
    assert text == ids


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": [2**31 - 1]}, "token ids must be from 0 to"),
        ({"prompt": CONTEXT, "max_tokens": 0}, "max_tokens is 0"),
        ({"prompt": [1, 2], "parse_special": True}, "prompt and parse_special"),
        ({"prompt": [[1], "a", 2]}, "list of token ids"),
    ],
    ids=str,
)
def test_what_cannot_be_scored_is_refused(
    api: httpx.Client, fields: dict[str, Any], says: str
) -> None:
    answer = api.post("/v1/completions", json={"model": "persona", **fields})
    assert answer.status_code == 400
    assert says in answer.json()["error"]["message"]
