"""The tensors that hold each row's rules: its operations, its condition and its window.

Row 0 stands for tokens that are not steered; the others follow in their order. A row without rules
has no operations, no condition, and a window without end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.contract.steering import OPERATION_PLACES
from triton_models.model.upload import upload
from triton_models.steering.row_steering import RowSteering

_NO_GATE = -1
_NO_WINDOW = (0.0, 0.0, math.inf, 1.0)


class RuleTable:
    """The rules of each row.

    Attributes:
        counts: int32 [blocks, rows + 1]: how many operations a row has at a block.
        directions: [blocks, rows + 1, `OPERATION_PLACES`, hidden size]: their unit vectors, in the
            model's dtype, which halves the memory and rounds them as hidden states are.
        bounds: float32 [blocks, rows + 1, `OPERATION_PLACES`, 4]: low, high and strength of each,
            and the least factor of the tokens: 1 if it is enforced. A strength of 0 where there is
            none.
        gate_blocks: int32 [rows + 1]: the block at which a condition is looked at, -1 for none.
        gate_directions: [rows + 1, hidden size], in the model's dtype: onto what it projects.
        thresholds: float32 [rows + 1]: what the projection must exceed.
        windows: float32 [rows + 1, 4]: the position of the first generated token, of the first and
            after the last one in the window, and in how many steps the steering ends.
    """

    def __init__(
        self,
        num_layers: int,
        num_rows: int,
        hidden_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        count = num_rows + 1
        self.counts = zeros(num_layers, count, dtype=torch.int32)
        self.directions = zeros(num_layers, count, OPERATION_PLACES, hidden_size, dtype=dtype)
        self.bounds = zeros(num_layers, count, OPERATION_PLACES, 4)
        self.gate_blocks = torch.full((count,), _NO_GATE, dtype=torch.int32, device=device)
        self.gate_directions = zeros(count, hidden_size, dtype=dtype)
        self.thresholds = zeros(count)
        self._no_window = torch.tensor(_NO_WINDOW, device=device)
        self.windows = self._no_window.repeat(count, 1)
        self._device = device
        self._ruled: set[int] = set()
        """The rows that have rules."""

    @property
    def is_empty(self) -> bool:
        """Whether no row has rules."""
        return not self._ruled

    def any_of(self, rows: Iterable[int]) -> bool:
        """Whether any of some rows has rules."""
        return not self._ruled.isdisjoint(rows)

    def write(
        self,
        rows: Sequence[int],
        steerings: Sequence[RowSteering],
        num_prompt_tokens: Sequence[int],
    ) -> None:
        """Sets the rules of batch rows, whose prompts have these lengths."""
        for row in rows:
            self.clear(row)
        given = zip(rows, steerings, num_prompt_tokens, strict=True)
        ruled = [each for each in given if each[1].has_rules]
        self._ruled.update(row for row, _, _ in ruled)
        self._write_operations([(row, steering) for row, steering, _ in ruled])
        self._write_gates([(row, steering) for row, steering, _ in ruled])
        windows = {row: _window(steering, length) for row, steering, length in ruled}
        if windows:
            values = np.array(list(windows.values()))
            self.windows[self._places(windows)] = self._floats(values)

    def clear(self, row: int) -> None:
        """Removes the rules of a batch row."""
        if row not in self._ruled:
            return
        self._ruled.remove(row)
        self.counts[:, row + 1] = 0
        self.bounds[:, row + 1] = 0
        self.gate_blocks[row + 1] = _NO_GATE
        self.windows[row + 1] = self._no_window

    def _floats(self, values: Sequence[float] | NDArray[Any]) -> torch.Tensor:
        return upload(values, self._device, torch.float32)

    def _places(self, rows: Iterable[int]) -> torch.Tensor:
        return upload([row + 1 for row in rows], self._device)

    def _write_operations(self, ruled: Sequence[tuple[int, RowSteering]]) -> None:
        placed = [
            ((block, row + 1, index), operation)
            for row, steering in ruled
            for block, operations in steering.operations.items()
            for index, operation in enumerate(operations)
        ]
        if not placed:
            return
        places, operations = zip(*placed, strict=True)
        blocks, rows, indices = upload(np.array(places).T.copy(), self._device)
        directions = torch.stack([each.direction for each in operations])
        bounds = [(each.low, each.high, each.strength, each.is_enforced) for each in operations]
        self.directions[blocks, rows, indices] = upload(
            directions, self._device, self.directions.dtype
        )
        self.bounds[blocks, rows, indices] = self._floats(np.array(bounds))
        self.counts.index_put_((blocks, rows), torch.ones_like(rows).int(), accumulate=True)

    def _write_gates(self, ruled: Sequence[tuple[int, RowSteering]]) -> None:
        gates = {row: steering.gate for row, steering in ruled if steering.gate is not None}
        if not gates:
            return
        rows = self._places(gates)
        blocks = [gate.block for gate in gates.values()]
        self.gate_blocks[rows] = upload(blocks, self._device, torch.int32)
        self.thresholds[rows] = self._floats([gate.threshold for gate in gates.values()])
        directions = torch.stack([gate.direction for gate in gates.values()])
        self.gate_directions[rows] = upload(directions, self._device, self.gate_directions.dtype)


def _window(steering: RowSteering, num_prompt_tokens: int) -> tuple[float, ...]:
    """Returns a row of `RuleTable.windows`."""
    window = steering.window
    if window is None:
        return _NO_WINDOW
    end = math.inf if window.end is None else num_prompt_tokens + window.end
    return num_prompt_tokens, num_prompt_tokens + window.start, end, window.fade + 1
