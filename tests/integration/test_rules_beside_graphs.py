"""Rows with rules in steps that are replayed, or made of kernels, answer as in plain steps.

On the CPU a replay is the recorded function itself, and the kernels run in their interpreter.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.integration.runners_beside import REPLAYED_SIZES, kernels, replayed_modules
from tests.integration.stepping import NUM_ROWS, make_runner, make_sequence, plan_of, run
from tests.integration.test_decode_graphs import loaded
from triton_models.contract.steering import Window
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.sequence import Sequence
from triton_models.steering.bounded_projections import BoundedProjection, Gate
from triton_models.steering.row_steering import RowSteering

HIDDEN_SIZE = 64


def unit(seed: int) -> torch.Tensor:
    drawn = torch.randn(HIDDEN_SIZE, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=0)


ADDED = {1: 3 * unit(1), 2: 3 * unit(2)}
OPERATIONS = {
    1: (BoundedProjection(unit(3), 2.0, 2.0, 1.0), BoundedProjection(unit(4), 0.0, 0.0, 0.5, True)),
    3: (BoundedProjection(unit(5), -float("inf"), -1.0, 1.0),),
}
STEERINGS = [
    RowSteering(operations=OPERATIONS),
    RowSteering(ADDED, ADDED, OPERATIONS, Gate(0, unit(6), 0.0)),
    RowSteering({}, ADDED, {}, Gate(1, unit(7), 0.0), Window(1, 4, 2)),
    RowSteering.adding(ADDED),
    RowSteering(),
    RowSteering(ADDED, {}, {}, None, Window(0, 2)),
]


def course(runner: ModelRunner) -> list[tuple[list[int], tuple[int, int] | None]]:
    """Runs prompts and steps of every size, and returns each row's tokens and its tally."""
    sequences = [
        make_sequence(row, steering, list(range(3 + row))) for row, steering in enumerate(STEERINGS)
    ]
    runner.assign(sequences)
    run(runner, plan_of([], sequences[:4]))
    run(runner, plan_of(sequences[:4], sequences[4:]))
    for count in (1, 2, 3, NUM_ROWS):
        run(runner, plan_of(sequences[:count], []))
    run(runner, plan_of(sequences[3:5], []))
    return [(each.token_ids, counted(each)) for each in sequences]


def counted(sequence: Sequence) -> tuple[int, int] | None:
    tally = sequence.condition
    return None if tally is None else (tally.num_tokens, tally.num_met)


def test_modules_that_are_replayed_leave_rules_to_plain_steps(tiny_model_folder: Path) -> None:
    expected = course(make_runner(loaded(tiny_model_folder)))
    assert course(replayed_modules(tiny_model_folder)) == expected
    tallies = [tally for _, tally in expected]
    assert [tally is not None for tally in tallies] == [False, True, True, False, False, False]
    assert any(tally and 0 < tally[1] < tally[0] for tally in tallies)


@pytest.mark.parametrize("replays", [False, True])
def test_kernels_follow_rules_as_modules_do(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, replays: bool
) -> None:
    runner, sizes = kernels(tiny_model_folder, monkeypatch, replays)
    expected = course(make_runner(loaded(tiny_model_folder)))
    assert course(runner) == expected
    # Steps of one and two rows are replayed as one of more, unless no row has rules.
    assert sizes == (REPLAYED_SIZES if replays else [])
