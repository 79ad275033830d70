"""The directions that a step's requests read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from triton_models.contract.prompt_turns import Turn
from triton_models.engine.monitoring import DirectionStack
from triton_models.steering.readout import MonitoredDirection, Readout


class Counted(np.ndarray[Any, Any]):
    """Numbers that count how often their bytes are taken."""

    times = 0

    def tobytes(self, *arguments: Any) -> bytes:
        Counted.times += 1
        return super().tobytes(*arguments)


def test_a_reader_of_many_turns_is_looked_at_once() -> None:
    vectors = [np.eye(3, dtype=np.float32)[index].view(Counted) for index in range(2)]
    directions = tuple(MonitoredDirection("a", block, vectors[block]) for block in range(2))
    turns = [Turn("user", place, place + 1) for place in range(50)]
    other = Readout(directions[1:])
    many = Readout(directions, reads_tokens=True, turns=turns)
    stack = DirectionStack([other, *[many] * len(turns)], torch.device("cpu"))
    assert stack.columns == [[1], *[[0, 1]] * len(turns)]
    assert {block: rows.tolist() for block, rows in stack.of_block.items()} == {
        0: [[1.0, 0.0, 0.0]],
        1: [[0.0, 1.0, 0.0]],
    }
    assert Counted.times == 3
