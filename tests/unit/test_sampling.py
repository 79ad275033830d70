"""Sampling: each filter leaves what it should, and draws follow the probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from triton_models.engine.sampling import SamplingRow, draw, likelihoods, penalize, sample
from triton_models.engine.sequence import Sequence
from triton_models.request import GenerationRequest, SamplingParameters
from triton_models.steering.delta import SteeringDelta

END_IDS = torch.tensor([9])
NO_IDS: Any = torch.zeros(1, 1, dtype=torch.long)


def row(prompt: list[int], generated: list[int], **options: float) -> SamplingRow:
    sampling = SamplingParameters(**{"temperature": 0.0, "seed": 1, **options})  # type: ignore[arg-type]
    made = Sequence(
        GenerationRequest(sampling=sampling, min_tokens=2),
        prompt,
        10,
        SteeringDelta({}),
        lambda _: None,
    )
    for token in generated:
        made.append(token, b"x", ends=False)
    return SamplingRow(made)


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p", "temperature"),
    [(0, 1.0, 0.0, 1.0), (5, 1.0, 0.0, 0.7), (0, 0.6, 0.0, 1.3), (7, 0.8, 0.1, 0.9), (1, 1, 0, 1)],
)
def test_the_tokens_left_and_their_odds_are_those_of_transformers(
    top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(top_k))
    warpers = LogitsProcessorList()
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    warpers.append(TopPLogitsWarper(top_p))
    warpers.append(MinPLogitsWarper(min_p))
    scaled: Any = logits / temperature
    expected = warpers(NO_IDS, scaled).softmax(-1)[0]

    parameters = SamplingParameters(temperature, top_k, top_p, min_p)
    draws = np.linspace(0, 1, 20_000, endpoint=False)
    tokens = draw(logits.expand(len(draws), -1), [parameters] * len(draws), list(draws))
    odds = torch.bincount(tokens, minlength=40) / len(draws)
    torch.testing.assert_close(odds, expected, atol=2e-4, rtol=0)


def test_a_draw_near_one_stays_among_the_tokens_left() -> None:
    logits = torch.tensor([[5.0, 4.0, -1.0, -2.0]])
    parameters = [SamplingParameters(1.0, 2, 1.0)]
    assert draw(logits, parameters, [1.0 - 2**-53]).tolist() == [1]


@pytest.mark.parametrize("temperature", [1e-3, 1e-38, 1e-45, 1e-46, 1e-300])
def test_a_very_low_temperature_takes_the_likeliest_token(temperature: float) -> None:
    logits = torch.tensor([[5.0, 40.0, 39.0, -2.0]])
    assert draw(logits, [SamplingParameters(temperature, 0, 1.0)], [0.999]).tolist() == [1]


def test_repetition_is_penalized_over_prompt_and_answer() -> None:
    logits = torch.tensor([2.0, -2.0, 2.0, 2.0])
    penalize(logits, row([0, 1], [2], repetition_penalty=2.0))
    assert logits.tolist() == [1.0, -4.0, 1.0, 2.0]


def test_frequency_and_presence_are_penalized_over_the_answer() -> None:
    logits = torch.zeros(4)
    penalize(logits, row([0], [2, 2, 3], frequency_penalty=0.5, presence_penalty=0.25))
    assert logits.tolist() == [0.0, 0.0, -1.25, -0.75]


def test_the_end_is_held_back_until_min_tokens() -> None:
    logits = torch.zeros(2, 10)
    logits[:, 9] = 5.0
    logits[:, 4] = 1.0
    rows = [row([1], [3]), row([1], [3, 3])]
    assert sample(logits, rows, END_IDS).tolist() == [4, 9]


def test_what_a_request_draws_does_not_depend_on_its_batch() -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(3))
    options = {"temperature": 1.0, "seed": 42, "top_k": 0}
    alone = sample(logits[None].clone(), [row([1], [], **options)], END_IDS)
    others = [row([1], [], temperature=1.0, seed=seed, top_k=5) for seed in range(4)]
    rows = [*others, row([1], [], **options)]
    assert sample(logits.expand(5, -1).clone(), rows, END_IDS)[-1:].equal(alone)


def test_a_token_in_flight_counts_as_generated() -> None:
    options = {"frequency_penalty": 0.5, "presence_penalty": 0.25, "repetition_penalty": 2.0}
    known, pending = row([0], [2, 3], **options), row([0], [2], **options)
    in_flight = SamplingRow(pending.sequence, torch.tensor([3]))
    assert in_flight.num_generated == known.num_generated == 2
    both = []
    for each in (known, in_flight):
        logits = torch.ones(5)
        penalize(logits, each)
        both.append(logits)
    assert both[0].equal(both[1])


def test_likelihoods_are_log_probabilities_of_the_whole_vocabulary() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0], [3.0, 0.0, 0.0, 0.0]])
    likely = likelihoods(logits, torch.tensor([1, 0]), 2)
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(likely.chosen, torch.stack([expected[0, 1], expected[1, 0]]))
    assert likely.top_ids[:, 0].tolist() == [2, 0]
    assert likely.top_ids.shape == likely.top.shape == (2, 2)
    everything = likelihoods(logits, torch.tensor([1, 0]), 9).top
    torch.testing.assert_close(everything.exp().sum(-1), torch.ones(2))
