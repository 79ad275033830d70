"""The kernel penalizes logits as the definitions, and the function on a CPU, do."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.triton_models.kernels.interpreter import DEVICE, QUIET
from triton_models.engine import sampling

pytest.importorskip("triton")

from triton_models.kernels import penalties as penalty_kernels

pytestmark = QUIET


class Penalized(NamedTuple):
    """A row of the tables, as a request's tokens and penalties make it."""

    prompt: list[int]
    answer: list[int]
    repetition: float = 1.0
    frequency: float = 0.0
    presence: float = 0.0


def penalize_by_kernel(
    logits: torch.Tensor, table: list[Penalized], rows: list[int], context: int
) -> torch.Tensor:
    tokens = torch.tensor([-1, 2**31 - 1]).repeat(len(table), context)[:, :context]
    for place, row in enumerate(table):
        known = row.prompt + row.answer
        tokens[place, : len(known)] = torch.tensor(known)
    lengths = torch.tensor([len(table[row].prompt) + len(table[row].answer) for row in rows])
    result = logits.clone().to(DEVICE)
    penalty_kernels.penalize(
        result,
        torch.tensor(rows, device=DEVICE),
        lengths.to(DEVICE),
        tokens.int().to(DEVICE),
        torch.tensor([len(row.prompt) for row in table], device=DEVICE),
        *(torch.tensor([row[index] for row in table], device=DEVICE) for index in (2, 3, 4)),
    )
    return result.cpu()


def penalize_by_torch(logits: torch.Tensor, table: list[Penalized], rows: list[int]) -> None:
    """Penalizes with the function for any device, row by row."""
    for place, row in enumerate(rows):
        prompt, answer, *amounts = table[row]
        penalties = sampling.Penalties(
            torch.tensor([0]),
            torch.tensor([prompt + answer]),
            torch.tensor([len(prompt + answer)]),
            torch.tensor([len(prompt)]),
            *(torch.tensor([amount]) for amount in amounts),
        )
        sampling.penalize(logits[place : place + 1], penalties)


def plain_penalties(logits: torch.Tensor, row: Penalized) -> torch.Tensor:
    """One row's penalties as their definitions have them, in float64."""
    values = logits.double().clone()
    for token in {*row.prompt, *row.answer}:
        values[token] *= row.repetition if values[token] < 0 else 1 / row.repetition
    for token in set(row.answer):
        values[token] -= row.frequency * row.answer.count(token) + row.presence
    return values


@settings(max_examples=40)
@given(st.data())
def test_penalties_are_those_of_their_definitions(data: st.DataObject) -> None:
    vocabulary = data.draw(st.sampled_from([3, 12, 500]))
    tokens = st.lists(st.integers(0, vocabulary - 1), max_size=12)
    table = [
        Penalized(
            data.draw(tokens.filter(bool)),
            data.draw(tokens),
            data.draw(st.sampled_from([1.0, 0.7, 1.5])),
            data.draw(st.sampled_from([0.0, 0.4, -0.3])),
            data.draw(st.sampled_from([0.0, 0.6])),
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    rows = data.draw(st.lists(st.integers(0, len(table) - 1), min_size=1, max_size=4))
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    logits = torch.randn(len(rows), vocabulary, generator=random)
    context = data.draw(st.sampled_from([24, 31]))
    result = penalize_by_kernel(logits, table, rows, context)
    expected = torch.stack([plain_penalties(logits[i], table[row]) for i, row in enumerate(rows)])
    torch.testing.assert_close(result, expected.float(), rtol=1e-5, atol=1e-5)
    penalize_by_torch(logits, table, rows)
    assert result.equal(logits)


@pytest.mark.parametrize("seed", range(2))
def test_penalties_of_rows_longer_than_a_block(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(900, (5000,), generator=random).tolist()
    table = [
        Penalized(tokens[:2100], tokens[2100:4500], 1.3, 0.2, 0.5),
        Penalized(tokens[:10], tokens[10:], 1.0, 0.0, -0.5),
        Penalized(tokens, [], 0.9, 0.2, 0.5),
    ]
    logits = torch.randn(3, 1000, generator=random)
    result = penalize_by_kernel(logits, table, [2, 0, 1], 5000)
    penalize_by_torch(logits, table, [2, 0, 1])
    torch.testing.assert_close(result, logits, rtol=1e-5, atol=1e-4)


def test_rows_without_penalties_keep_every_bit() -> None:
    logits = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
    logits[0, :3] = torch.tensor([float("nan"), -float("inf"), -0.0])
    logits[3, :3] = logits[0, :3]
    table = [Penalized([0, 1, 2], [2, 2]), Penalized([3], [1, 1], 1.2, 0.1, 0.1)]
    result = penalize_by_kernel(logits, table, [0, 1, 1, 0], 8)
    changed = (result.view(torch.int32) != logits.view(torch.int32)).any(dim=1)
    assert changed.tolist() == [False, True, True, False]
