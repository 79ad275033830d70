"""The tensors that hold how each row of the batch is steered: what is added, and its rules.

Line 0 is all zero, for tokens that are not steered. Each row has two lines, one for its prompt and
one for its response; a row that adds the same to both uses the first alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from triton_models.model.upload import upload
from triton_models.steering.row_steering import Deltas, RowSteering
from triton_models.steering.rule_table import RuleTable

UNSTEERED_LINE = 0


def prompt_line(row: int, steering: RowSteering) -> int:
    """Returns the line of a row's prompt tokens."""
    return 2 * row + 1 if steering.steers_prompt else UNSTEERED_LINE


def response_line(row: int, steering: RowSteering) -> int:
    """Returns the line of a row's generated tokens."""
    if not steering.steers_response:
        return UNSTEERED_LINE
    return 2 * row + 1 if steering.adds_alike else 2 * row + 2


def row_of_line(line: torch.Tensor) -> torch.Tensor:
    """Returns lines' rows of the rules: 0 for the unsteered line, one more than a batch row's."""
    return (line + 1) // 2


class SteeringTable:
    """For each decoder block and line, what is added there, and the rules of each row."""

    def __init__(
        self,
        num_layers: int,
        num_rows: int,
        hidden_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_rows = num_rows
        self.num_lines = 2 * num_rows + 1
        self._deltas = torch.zeros(
            (num_layers, self.num_lines, hidden_size), dtype=dtype, device=device
        )
        self.rules = RuleTable(num_layers, num_rows, hidden_size, dtype, device)

    def of_block(self, block: int) -> torch.Tensor:
        """Returns a block's table, [lines, hidden_size]: a view that follows changes."""
        return self._deltas[block]

    def write(
        self,
        rows: Sequence[int],
        steerings: Sequence[RowSteering],
        num_prompt_tokens: Sequence[int],
    ) -> None:
        """Sets the lines and rules of batch rows, whose prompts have these lengths."""
        device = self._deltas.device
        both = [line for row in rows for line in (2 * row + 1, 2 * row + 2)]
        self._deltas.index_fill_(1, upload(both, device), 0)
        steered = [
            (block, line, vector)
            for row, steering in zip(rows, steerings, strict=True)
            for line, deltas in _parts(row, steering)
            for block, vector in deltas.items()
        ]
        if steered:
            *places, vectors = zip(*steered, strict=True)
            blocks, lines = upload(np.array(places), device)
            values = upload(torch.stack(vectors), device, self._deltas.dtype)
            self._deltas[blocks, lines] = values
        self.rules.write(rows, steerings, num_prompt_tokens)

    def clear(self, row: int) -> None:
        """Clears the lines and rules of a batch row."""
        self._deltas[:, 2 * row + 1 : 2 * row + 3] = 0
        self.rules.clear(row)


def _parts(row: int, steering: RowSteering) -> list[tuple[int, Deltas]]:
    parts = [(prompt_line(row, steering), steering.prompt)]
    if not steering.adds_alike:
        parts.append((response_line(row, steering), steering.response))
    return parts
