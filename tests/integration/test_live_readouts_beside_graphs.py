"""What is read at tokens in steps that are replayed, or made of kernels, is what plain steps read.

On the CPU a replay is the recorded function itself, and the kernels run in their interpreter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.integration.runners_beside import REPLAYED_SIZES, kernels, replayed_modules
from tests.integration.stepping import NUM_ROWS, make_runner, make_sequence, plan_of, run
from tests.integration.test_decode_graphs import loaded
from tests.integration.test_rules_beside_graphs import STEERINGS, unit
from triton_models.contract.prompt_turns import Turn
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.sequence import Sequence
from triton_models.steering.readout import MonitoredDirection, Readout

SHARED = MonitoredDirection("capped", 3, unit(5).numpy())


def monitored(row: int) -> Sequence:
    """Returns a sequence that reads a direction that all do, and one of its own; one reads none."""
    sequence = make_sequence(row, STEERINGS[row], list(range(3 + row)))
    if row != 4:
        own = MonitoredDirection("own", 1 + row % 2, unit(10 + row).numpy())
        turns = [Turn("user", 1, 2 + row)] if row % 2 else []
        # One reads the mean alone.
        sequence.readout = Readout((own, SHARED), reads_tokens=row != 5, turns=turns)
    return sequence


def course(runner: ModelRunner) -> list[list[tuple[float, ...]]]:
    """Runs prompts and steps of every size, and returns all that each row has read."""
    sequences = [monitored(row) for row in range(NUM_ROWS)]
    runner.assign(sequences)
    run(runner, plan_of([], sequences[:4]))
    run(runner, plan_of(sequences[:4], sequences[4:]))
    for count in (1, 2, 3, NUM_ROWS):
        run(runner, plan_of(sequences[:count], []))
    run(runner, plan_of(sequences[3:5], []))
    read = []
    for sequence in sequences:
        values: list[tuple[float, ...]] = []
        if (readout := sequence.readout) is not None:
            for token in readout.take_tokens(sequence.num_generated):
                values += [tuple(token.before), tuple(token.after)]
            for means in (readout.means(), *(turn.means for turn in readout.turn_means())):
                values += [tuple(blocks.values()) for blocks in means.values()]
        read.append(values)
    return read


def check(expected: list[list[tuple[float, ...]]], got: list[list[tuple[float, ...]]]) -> None:
    for row, (mine, other) in enumerate(zip(expected, got, strict=True)):
        assert [len(values) for values in mine] == [len(values) for values in other], row
        for one, same in zip(mine, other, strict=True):
            np.testing.assert_allclose(one, same, atol=2e-4)


def test_steering_shows_between_before_and_after(tiny_model_folder: Path) -> None:
    """So that the tests below could not pass with one for the other."""
    read = course(make_runner(loaded(tiny_model_folder)))
    before, after = read[0][0:8:2], read[0][1:8:2]
    assert max(capped for _, capped in after) <= -1.0 + 1e-4
    assert max(free for _, free in before) > -0.9
    added = [read[3][index + 1][0] - read[3][index][0] for index in (0, 2, 4)]
    assert added == pytest.approx([3 * float(unit(2) @ unit(13))] * 3, abs=1e-4)
    assert read[4] == []
    assert [bool(values) for values in read[5]] == [False] * 4 + [True] * 2


def test_modules_that_are_replayed_read_the_same(tiny_model_folder: Path) -> None:
    expected = course(make_runner(loaded(tiny_model_folder)))
    check(expected, course(replayed_modules(tiny_model_folder)))


@pytest.mark.parametrize("replays", [False, True])
def test_kernels_read_the_same(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, replays: bool
) -> None:
    runner, sizes = kernels(tiny_model_folder, monkeypatch, replays)
    expected = course(make_runner(loaded(tiny_model_folder)))
    check(expected, course(runner))
    assert sizes == (REPLAYED_SIZES if replays else [])
