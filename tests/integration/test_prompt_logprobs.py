"""The log-probabilities of prompts, scored under each request's own steering."""

from __future__ import annotations

import pytest
import torch

from tests.integration.asking import GREEDY, ask, standing
from tests.integration.reference import steered
from tests.integration.test_engine_against_generate import STEERINGS, deltas
from tests.tiny_model import make_model
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine import prompt_scores
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import (
    FinishReason,
    PromptTokenLogprobs,
    Sequence,
    TokenChunk,
    TokenLogprobs,
)
from triton_models.steering.row_steering import RowSteering

MODEL = make_model()
LONG = [3 + number * 7 % 90 for number in range(50)]
"""More tokens than a step computes of a prompt."""


def scoring(
    steering: SteeringParameters | None = None, max_tokens: int = 0, num_top: int = 3
) -> GenerationRequest:
    steering = steering or SteeringParameters()
    return GenerationRequest(steering, GREEDY, max_tokens, prompt_logprobs=num_top)


def check(
    got: tuple[PromptTokenLogprobs, ...], prompt: list[int], request: GenerationRequest
) -> None:
    with steered(MODEL, len(prompt), deltas(request), request.steering.positions):
        expected = MODEL(torch.tensor([prompt])).logits[0].log_softmax(-1)
    assert got[0] == PromptTokenLogprobs(prompt[0])
    assert [each.token_id for each in got] == prompt
    for row, each in zip(expected[:-1], got[1:], strict=True):
        assert each.logprob == pytest.approx(float(row[each.token_id]), abs=1e-4)
        values, ids = row.topk(request.prompt_logprobs or 0)
        assert [id for id, _ in each.top] == ids.tolist()
        assert [value for _, value in each.top] == pytest.approx(values.tolist(), abs=1e-4)
        if each.token_id in ids:
            assert each.rank == 1 + ids.tolist().index(each.token_id)
        else:
            assert each.rank > len(ids)


def test_a_mixed_batch_scores_each_prompt_under_its_own_steering(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A few tokens at a time, so that a chunk of a prompt takes several parts.
    monkeypatch.setattr(prompt_scores, "MAX_LOGITS", 3 * MODEL.config.vocab_size)
    steerings = [each for each in STEERINGS if each.positions != "response"]
    requests = [scoring(each, num_top=index) for index, each in enumerate(steerings)]
    plain = GenerationRequest(sampling=GREEDY, max_tokens=12)
    alone = ask(engine, plain, LONG[5:]).tokens()
    with standing(engine):
        beside = ask(engine, plain, LONG[5:])
        answers = [ask(engine, request, LONG[index:]) for index, request in enumerate(requests)]
    for index, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        (chunk,) = answer.all()
        check(chunk.prompt_logprobs, LONG[index:], request)
        assert (chunk.finish_reason, chunk.token_ids) == (FinishReason.LENGTH, ())
        assert chunk.num_generated_tokens == 0
    (chunk,) = beside.all()
    assert (list(chunk.token_ids), chunk.prompt_logprobs) == (alone, ())


def test_a_prompt_that_was_computed_before_is_scored_all_the_same(engine: Engine) -> None:
    prompt = LONG[::-1]
    plain = GenerationRequest(sampling=GREEDY, max_tokens=4)
    expected = ask(engine, plain, prompt).tokens()
    request = scoring(max_tokens=4)
    for _ in range(2):
        (chunk,) = ask(engine, request, prompt).all()
        check(chunk.prompt_logprobs, prompt, request)
        assert (list(chunk.token_ids), chunk.num_reused_tokens) == (expected, 0)
    # What it computed serves others.
    (chunk,) = ask(engine, plain, [*prompt, 5]).all()
    assert chunk.num_reused_tokens >= len(prompt)


def test_a_stream_has_them_on_its_first_chunk(engine: Engine) -> None:
    request = GenerationRequest(sampling=GREEDY, max_tokens=5, stream=True, prompt_logprobs=1)
    first, *others = ask(engine, request, LONG).all()
    check(first.prompt_logprobs, LONG, request)
    assert others
    assert not any(chunk.prompt_logprobs for chunk in others)


def test_a_prompt_of_one_token_has_nothing_to_score(engine: Engine) -> None:
    (chunk,) = ask(engine, scoring(), [7]).all()
    assert chunk.prompt_logprobs == (PromptTokenLogprobs(7),)


def test_an_answer_of_no_tokens_cannot_be_steered_alone(engine: Engine) -> None:
    request = scoring(SteeringParameters({"flattery": 2.0}, positions="response"))
    with pytest.raises(InvalidArgumentError, match="an answer of 0 tokens"):
        engine.submit(request, LONG, lambda _: None)


@pytest.mark.parametrize("scored", [True, False])
def test_with_a_scored_prompt_the_end_is_reported_as_well(scored: bool) -> None:
    chunks: list[TokenChunk] = []
    request = GenerationRequest(logprobs=0, prompt_logprobs=0 if scored else None)
    sequence = Sequence(request, [1, 2], 5, RowSteering(), chunks.append)
    sequence.append(65, b"A", ends=False, logprobs=TokenLogprobs(-1.0))
    sequence.append(9, b"", ends=True, logprobs=TokenLogprobs(-2.0))
    (chunk,) = chunks
    expected = [(65, -1.0), (9, -2.0)] if scored else [(65, -1.0)]
    got = [(id, each.logprob) for id, each in zip(chunk.token_ids, chunk.logprobs, strict=True)]
    assert (got, chunk.num_bytes, chunk.finish_reason) == (expected, 1, FinishReason.STOP)
