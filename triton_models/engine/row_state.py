"""The state of each row of the batch on the device, which steps update by themselves.

The host writes a row when a request gets it. From then on the steps write the newest token and its
position, so that the host only has to send which rows a step computes.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import torch

from triton_models.engine.packed_batch import first_slot_of, row_of
from triton_models.engine.sequence import Sequence
from triton_models.model.upload import upload
from triton_models.steering.table import response_line

_TOKEN, _POSITION, _FIRST_SLOT, _LINE = range(4)


class RowState:
    """The rows, followed by a dummy row that pads batches of a fixed size and never advances."""

    def __init__(self, num_rows: int, device: torch.device) -> None:
        self.dummy_row = num_rows
        self._device = device
        self._columns = torch.zeros((4, num_rows + 1), dtype=torch.int64, device=device)

    def write(self, sequences: SequenceOf[Sequence]) -> None:
        """Sets the rows of sequences to the ends of their prompts."""
        values = np.empty((5, len(sequences)), dtype=np.int64)
        for index, sequence in enumerate(sequences):
            row = row_of(sequence)
            line = response_line(row, sequence.steering)
            values[:, index] = row, 0, sequence.num_prompt_tokens, first_slot_of(sequence), line
        sent = upload(values, self._device)
        self._columns.index_copy_(1, sent[0], sent[1:])

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the state of rows, int64 [4, rows]: newest token, position, first slot, line."""
        return self._columns.index_select(1, rows)

    def positions(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns rows' positions, int64 [rows]."""
        return self._columns[_POSITION].index_select(0, rows)

    def advance(self, rows: torch.Tensor) -> None:
        """Advances rows by one position, all but the dummy."""
        self._columns[_POSITION].index_add_(0, rows, (rows < self.dummy_row).long())

    def give(self, rows: torch.Tensor, tokens: torch.Tensor) -> None:
        """Sets the newest tokens of rows."""
        self._columns[_TOKEN].index_copy_(0, rows, tokens)
