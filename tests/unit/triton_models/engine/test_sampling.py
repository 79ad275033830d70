"""Sampling: each filter leaves what it should, and draws follow the probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LogitsProcessorList, MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.sampling import (
    MIN_TEMPERATURE,
    Penalties,
    draw_from_all,
    draw_from_few,
    largest,
    likelihoods,
    penalize,
)
from triton_models.engine.sampling_table import SamplingTable
from triton_models.engine.sequence import Sequence
from triton_models.steering.row_steering import RowSteering

CPU = torch.device("cpu")
END_ID = 9
NO_IDS: Any = torch.zeros(1, 1, dtype=torch.long)


def make_sequence(
    prompt: list[int], generated: list[int], min_tokens: int = 0, **options: Any
) -> Sequence:
    parameters = SamplingParameters(**{"temperature": 0.0, "seed": 1, **options})
    request = GenerationRequest(sampling=parameters, min_tokens=min_tokens)
    made = Sequence(request, prompt, 100, RowSteering(), lambda _: None)
    for token in generated:
        made.append(token, b"x", ends=False)
    return made


class Batch:
    """Sequences, each in a row of its own, that choose tokens step by step."""

    def __init__(self, sequences: list[Sequence]) -> None:
        self.sequences = sequences
        self._table = SamplingTable(len(sequences), 64, [END_ID], CPU)
        self._table.write(range(len(sequences)), sequences)

    def choose(self, logits: torch.Tensor, chosen: list[int] | None = None) -> list[int]:
        """Chooses tokens for some of the sequences, all by default."""
        rows = np.array(range(len(self.sequences)) if chosen is None else chosen)
        sequences = [self.sequences[row] for row in rows]
        positions = np.array([len(sequence.token_ids) for sequence in sequences])
        tokens, _ = self._table.choose_by_kind(logits, rows, positions)
        for sequence, token in zip(sequences, tokens.tolist(), strict=True):
            sequence.append(token, b"x", ends=False)
        return list(tokens.tolist())


def draw(logits: torch.Tensor, parameters: SamplingParameters, draws: list[float]) -> torch.Tensor:
    def column(value: float) -> torch.Tensor:
        return torch.full((len(draws), 1), value)

    columns = (
        column(max(parameters.temperature, MIN_TEMPERATURE)),
        torch.full((len(draws), 1), parameters.top_k),
        column(parameters.top_p if parameters.top_p < 1 else float("inf")),
        column(parameters.min_p),
    )
    draw_from = draw_from_few if parameters.top_k else draw_from_all
    return draw_from(logits, *columns, torch.tensor(draws, dtype=torch.float64)[:, None])


def odds_of_transformers(
    logits: torch.Tensor, top_k: int, top_p: float, min_p: float, temperature: float
) -> torch.Tensor:
    """Returns the odds by which `generate` draws, [vocabulary], from logits [1, vocabulary]."""
    warpers = LogitsProcessorList()
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    warpers.append(TopPLogitsWarper(top_p))
    warpers.append(MinPLogitsWarper(min_p))
    scaled: Any = logits / temperature
    odds: torch.Tensor = warpers(NO_IDS, scaled).softmax(-1)[0]
    return odds


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p", "temperature"),
    [(0, 1.0, 0.0, 1.0), (5, 1.0, 0.0, 0.7), (0, 0.6, 0.0, 1.3), (7, 0.8, 0.1, 0.9), (1, 1, 0, 1)],
)
def test_the_tokens_left_and_their_odds_are_those_of_transformers(
    top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(top_k))
    expected = odds_of_transformers(logits, top_k, top_p, min_p, temperature)

    parameters = SamplingParameters(temperature, top_k, top_p, min_p)
    draws = np.linspace(0, 1, 20_000, endpoint=False)
    tokens = draw(logits.expand(len(draws), -1), parameters, list(draws))
    odds = torch.bincount(tokens, minlength=40) / len(draws)
    torch.testing.assert_close(odds, expected, atol=2e-4, rtol=0)


def test_a_draw_near_one_stays_among_the_tokens_left() -> None:
    logits = torch.tensor([[5.0, 4.0, -1.0, -2.0]])
    parameters = SamplingParameters(1.0, 2, 1.0)
    assert draw(logits, parameters, [1.0 - 2**-53]).tolist() == [1]


@pytest.mark.parametrize("temperature", [1e-3, 1e-38, 1e-45, 1e-46, 1e-300])
def test_a_very_low_temperature_takes_the_likeliest_token(temperature: float) -> None:
    logits = torch.tensor([[5.0, 40.0, 39.0, -2.0]])
    parameters = SamplingParameters(temperature, 0, 1.0)
    assert draw(logits, parameters, [0.999]).tolist() == [1]
    batch = Batch([make_sequence([1], [], temperature=temperature, top_k=0)])
    assert batch.choose(logits) == [1]


@pytest.mark.parametrize("vocabulary", [40, 1000, 4096, 4133])
@pytest.mark.parametrize("count", [1, 7, 30])
def test_the_largest_are_those_of_all(vocabulary: int, count: int) -> None:
    logits = torch.randn(3, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    values, places = largest(logits, count)
    expected = logits.topk(count)
    assert values.equal(expected.values)
    assert places.equal(expected.indices)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("vocabulary", [40, 4133])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_show_in_the_largest(
    bad: float, vocabulary: int, temperature: float
) -> None:
    logits = torch.zeros(2, vocabulary)
    logits[1, -1] = bad
    sequences = [make_sequence([1], [], temperature=temperature, top_k=5) for _ in range(2)]
    table = SamplingTable(2, 64, [END_ID], CPU)
    table.write(range(2), sequences)
    _, greatest = table.choose_by_kind(logits, np.arange(2), np.array([1, 1]))
    assert greatest.isfinite().tolist() == [True, False]


def penalized(logits: list[float], sequence: Sequence, **amounts: float) -> list[float]:
    result = torch.tensor([logits])
    tokens = torch.tensor([[*sequence.token_ids, 0, 0, 1]])  # what stands behind does not count

    def column(name: str, default: float) -> torch.Tensor:
        return torch.tensor([amounts.get(name, default)])

    penalties = Penalties(
        torch.tensor([0]),
        tokens,
        torch.tensor([len(sequence.token_ids)]),
        torch.tensor([sequence.num_prompt_tokens]),
        column("repetition", 1.0),
        column("frequency", 0.0),
        column("presence", 0.0),
    )
    penalize(result, penalties)
    return list(result[0].tolist())


def test_repetition_is_penalized_over_prompt_and_answer() -> None:
    sequence = make_sequence([1, 2], [3])
    assert penalized([9.0, 2.0, -2.0, 2.0, 2.0], sequence, repetition=2.0) == [9, 1, -4, 1, 2]


def test_frequency_and_presence_are_penalized_over_the_answer() -> None:
    sequence = make_sequence([3], [1, 1, 2])
    expected = [0.0, -1.25, -0.75, 0.0]
    assert penalized([0.0] * 4, sequence, frequency=0.5, presence=0.25) == expected
    assert penalized([0.0] * 4, make_sequence([3], []), frequency=0.5, presence=0.25) == [0.0] * 4


def plain_penalties(logits: torch.Tensor, sequence: Sequence) -> torch.Tensor:
    """One row's penalties as their definitions have them, in float64."""
    parameters, values = sequence.request.sampling, logits.double().clone()
    for token in set(sequence.token_ids):
        factor = parameters.repetition_penalty
        values[token] = values[token] * factor if values[token] < 0 else values[token] / factor
    answer = sequence.token_ids[sequence.num_prompt_tokens :]
    for token in set(answer):
        values[token] -= parameters.frequency_penalty * answer.count(token)
        values[token] -= parameters.presence_penalty
    return values


@given(data=st.data())
def test_penalized_rows_choose_in_any_batch_what_their_definitions_say(data: st.DataObject) -> None:
    tokens = st.lists(st.integers(0, 11), min_size=1, max_size=8)
    penalties: dict[str, Any] = {
        "repetition_penalty": st.sampled_from([1.0, 0.7, 1.5]),
        "frequency_penalty": st.sampled_from([0.0, 0.4, -0.3]),
        "presence_penalty": st.sampled_from([0.0, 0.6]),
    }
    sequences = [
        make_sequence(data.draw(tokens), [], **data.draw(st.fixed_dictionaries(penalties)))
        for _ in range(data.draw(st.integers(1, 5)))
    ]
    batch = Batch(sequences)
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    for _ in range(data.draw(st.integers(1, 8))):
        rows = sorted(data.draw(st.sets(st.integers(0, len(sequences) - 1), min_size=1)))
        logits = torch.randn(len(rows), 12, generator=random)
        expected = [
            int(plain_penalties(logits[index], sequences[row]).argmax())
            for index, row in enumerate(rows)
        ]
        assert batch.choose(logits.clone(), rows) == expected


def test_the_end_is_held_back_until_min_tokens() -> None:
    logits = torch.zeros(2, 10)
    logits[:, END_ID] = 5.0
    logits[:, 4] = 1.0
    sequences = [make_sequence([1], [3], min_tokens=2), make_sequence([1], [3, 3], min_tokens=2)]
    assert Batch(sequences).choose(logits) == [4, END_ID]


def test_what_a_request_draws_does_not_depend_on_its_batch() -> None:
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(3))
    options: Any = {"temperature": 1.0, "seed": 42, "top_k": 0}
    alone = Batch([make_sequence([1], [], **options)])
    others = [
        make_sequence([1], [], temperature=1.0, seed=seed, top_k=5 + seed, min_p=0.01 * seed)
        for seed in range(3)
    ]
    greedy = make_sequence([1], [], repetition_penalty=1.3)
    together = Batch([*others, greedy, make_sequence([1], [], **options)])
    for _ in range(5):
        assert together.choose(logits.clone())[-1:] == alone.choose(logits[-1:].clone())


def test_a_row_keeps_nothing_of_the_request_before() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0] + [0.0] * 9])
    table = SamplingTable(1, 64, [END_ID], CPU)
    cases: list[tuple[dict[str, Any], int]] = [({"repetition_penalty": 3.0}, 2), ({}, 1)]
    for options, expected in cases:
        sequence = make_sequence([1, 1], [], min_tokens=1, **options)
        table.write([0], [sequence])
        tokens, _ = table.choose_by_kind(logits.clone(), np.array([0]), np.array([2]))
        assert tokens.tolist() == [expected]


def test_likelihoods_are_log_probabilities_of_the_whole_vocabulary() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0], [3.0, 0.0, 0.0, 0.0]])
    likely = likelihoods(logits, torch.tensor([1, 0]), 2)
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(likely.chosen, torch.stack([expected[0, 1], expected[1, 0]]))
    assert likely.top_ids[:, 0].tolist() == [2, 0]
    assert likely.top_ids.shape == likely.top.shape == (2, 2)
    everything = likelihoods(logits, torch.tensor([1, 0]), 9).top
    torch.testing.assert_close(everything.exp().sum(-1), torch.ones(2))
