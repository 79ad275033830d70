"""The lines of the steering table: which tokens of a row use which."""

from __future__ import annotations

import torch

from triton_models.steering.row_steering import RowSteering
from triton_models.steering.table import (
    UNSTEERED_LINE,
    SteeringTable,
    prompt_line,
    response_line,
)

SMALL, LARGE = {1: torch.full((3,), 0.5)}, {0: torch.ones(3), 1: torch.ones(3)}


def added(table: SteeringTable, row: int, steering: RowSteering) -> list[list[float]]:
    """Returns what a row adds to its prompt and its response at both blocks."""
    lines = prompt_line(row, steering), response_line(row, steering)
    return [[float(table.of_block(block)[line, 0]) for block in (0, 1)] for line in lines]


def test_a_row_that_adds_the_same_to_all_tokens_uses_one_line() -> None:
    for steering in (RowSteering.adding(LARGE), RowSteering(LARGE, LARGE)):
        assert prompt_line(3, steering) == response_line(3, steering) != UNSTEERED_LINE
        assert steering.prompt_key == steering.response_key


def test_tokens_that_are_not_steered_use_the_line_of_zeros() -> None:
    assert prompt_line(3, RowSteering()) == response_line(3, RowSteering()) == UNSTEERED_LINE
    of_response = RowSteering.adding(LARGE, "response")
    assert prompt_line(3, of_response) == UNSTEERED_LINE != response_line(3, of_response)
    of_prompt = RowSteering.adding(LARGE, "prompt")
    assert response_line(3, of_prompt) == UNSTEERED_LINE != prompt_line(3, of_prompt)


def test_prompt_and_response_of_each_row_have_deltas_of_their_own() -> None:
    table = SteeringTable(2, 2, 3, torch.float32, torch.device("cpu"))
    first, second = RowSteering(SMALL, LARGE), RowSteering.adding(LARGE, "response")
    table.write([0, 1], [first, second], [5, 5])
    assert added(table, 0, first) == [[0.0, 0.5], [1.0, 1.0]]
    assert added(table, 1, second) == [[0.0, 0.0], [1.0, 1.0]]

    table.write([0], [RowSteering.adding(SMALL, "prompt")], [5])
    assert added(table, 0, first) == [[0.0, 0.5], [0.0, 0.0]]
    table.clear(1)
    assert added(table, 1, second) == [[0.0, 0.0], [0.0, 0.0]]
