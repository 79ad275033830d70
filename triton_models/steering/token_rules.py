"""Steers the tokens of a step some of which have rules, with PyTorch's own functions."""

from __future__ import annotations

import torch
from torch.linalg import vecdot

from triton_models.steering.rule_table import RuleTable
from triton_models.steering.table import row_of_line


class TokenRules:
    """The rules of a step's tokens.

    Args:
        table: The rules of all rows.
        lines: int64 [tokens]: their lines of the steering table.
        positions: int64 [tokens]: their places in their own sequences.

    Attributes:
        gates: float32 [tokens]: 1 where a condition has let a token through in this pass.
    """

    def __init__(self, table: RuleTable, lines: torch.Tensor, positions: torch.Tensor) -> None:
        self._table = table
        self._rows = row_of_line(lines)
        self._factors = window_factors(table.windows[self._rows], positions)
        self.gates = torch.zeros_like(self._factors)
        self._gate_blocks = table.gate_blocks[self._rows]
        # Asked once for all blocks, since the answer may come from a GPU.
        self._gating = frozenset(self._gate_blocks.unique().tolist())
        self._most_operations = table.counts[:, self._rows].amax(1).tolist()

    def steer(self, block: int, states: torch.Tensor, deltas: torch.Tensor) -> None:
        """Steers a block's output in place; it and the deltas are [tokens, hidden size]."""
        if block in self._gating:
            self._decide((self._gate_blocks == block).nonzero().squeeze(1), states)
        steered = torch.addcmul(states.float(), deltas.float(), self._factors[:, None])
        if most := self._most_operations[block]:
            tokens = self._table.counts[block, self._rows].nonzero().squeeze(1)
            operated = self._operated(block, most, tokens, steered.index_select(0, tokens))
            steered.index_copy_(0, tokens, operated)
        states.copy_(steered)

    def _decide(self, tokens: torch.Tensor, states: torch.Tensor) -> None:
        rows = self._rows[tokens]
        directions = self._table.gate_directions.index_select(0, rows).float()
        projections = vecdot(states.index_select(0, tokens).float(), directions)
        gates = (projections > self._table.thresholds[rows]).float()
        self.gates[tokens] = gates
        self._factors[tokens] *= gates

    def _operated(
        self, block: int, most: int, tokens: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """Changes some tokens' states, float32 [tokens, hidden size], and returns them."""
        rows, factors = self._rows[tokens], self._factors[tokens]
        bounds = self._table.bounds[block].index_select(0, rows)
        for index in range(most):
            directions = self._table.directions[block, :, index].index_select(0, rows).float()
            low, high, strength, least = bounds[:, index].unbind(1)
            projections = vecdot(states, directions)
            change = projections.clamp(low, high) - projections
            states.addcmul_(directions, (factors.maximum(least) * strength * change)[:, None])
        return states


def window_factors(windows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Returns how much of the steering tokens get, float32 [tokens], from 0 to 1.

    Args:
        windows: float32 [tokens, 4]: see `RuleTable.windows`.
        positions: int64 [tokens].
    """
    first, start, end, steps = windows.unbind(1)
    factors = ((end - positions) / steps).clamp(0.0, 1.0) * (positions >= start)
    return torch.where(positions < first, 1.0, factors)
