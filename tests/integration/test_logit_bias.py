"""Biases of logits under steering: answers are those of transformers, others are unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.integration.asking import GREEDY, ask
from tests.integration.reference import steered
from tests.integration.test_engine_against_generate import STEERINGS, deltas
from tests.tiny_model import make_model
from triton_models.contract.answer_format import parse_answer_format
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.engine import Engine

PROMPT = list(range(40, 60))
MODEL = make_model()
BIAS = ((171, 0.5), (17, -3.0), (40, 1.5), (200, 0.75))


def biased(*bias: tuple[int, float], **options: Any) -> SamplingParameters:
    return SamplingParameters(**{"temperature": 0.0, "logit_bias": bias, **options})


@pytest.mark.parametrize("steering", STEERINGS[::3], ids=str)
def test_a_biased_answer_is_that_of_transformers_and_its_logprobs_are_unbiased(
    engine: Engine, steering: SteeringParameters
) -> None:
    plain = GenerationRequest(steering, GREEDY, 12)
    expected = ask(engine, plain, PROMPT).tokens()
    bias = (*BIAS, (expected[1], -100.0))
    request = GenerationRequest(steering, biased(*bias), 12, logprobs=0)
    answer, other = ask(engine, request, PROMPT), ask(engine, plain, PROMPT)
    with steered(MODEL, len(PROMPT), deltas(request), steering.positions):
        output: Any = MODEL.generate(  # type: ignore[misc]
            torch.tensor([PROMPT]),
            attention_mask=torch.ones(1, len(PROMPT), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
            sequence_bias=[[[token], value] for token, value in bias],
        )
    (chunk,) = answer.all()
    assert list(chunk.token_ids) == output[0, len(PROMPT) :].tolist() != expected
    assert other.tokens() == expected
    with steered(MODEL, len(PROMPT), deltas(request), steering.positions):
        logits = MODEL(torch.tensor([[*PROMPT, *chunk.token_ids]])).logits[0, len(PROMPT) - 1 : -1]
    for row, token, each in zip(
        logits.log_softmax(-1), chunk.token_ids, chunk.logprobs, strict=True
    ):
        assert each.logprob == pytest.approx(float(row[token]), abs=1e-3)


def test_a_seed_draws_the_same_again_and_100_forces_whatever_is_drawn(engine: Engine) -> None:
    options = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "seed": 3}
    request = GenerationRequest(sampling=biased((9, 4.0), **options), max_tokens=20)
    first, again = ask(engine, request, PROMPT), ask(engine, request, PROMPT)
    assert first.tokens() == again.tokens()
    forced = GenerationRequest(sampling=biased((123, 100.0), **options), max_tokens=20)
    assert ask(engine, forced, PROMPT).tokens() == [123] * 20


def test_a_format_is_followed_whatever_the_biases_say(engine: Engine) -> None:
    format = parse_answer_format(json.dumps({"type": "regex", "pattern": "[a-c]{4}"}))
    free = GenerationRequest(sampling=biased((123, 100.0)), max_tokens=9, format=format)
    tokens = ask(engine, free, PROMPT).tokens()
    assert tokens
    assert 123 not in tokens


def test_a_token_that_the_model_does_not_have_is_refused(engine: Engine) -> None:
    request = GenerationRequest(sampling=biased((1, 1.0), (99_999, 1.0)), max_tokens=2)
    with pytest.raises(
        InvalidArgumentError, match=r"^logit_bias has the token 99999: .* from 0 to"
    ):
        ask(engine, request, PROMPT)
