"""A step's tokens, packed for one forward pass.

One token of each generating sequence, then the chunks of prompts, without padding, with tensors
beside them that say what belongs to which sequence. A generating sequence's newest token is already
on the device, whether or not the host knows it yet, so only its row of the batch is sent.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.scheduler import Slice
from triton_models.engine.sequence import Sequence
from triton_models.model.attention import Layout, Span, SpanGroup
from triton_models.steering.table import prompt_line


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The tensors of one step.

    Attributes:
        input_ids: int64 [tokens].
        steering_lines: int64 [tokens]: each token's line of the steering table.
        layout: Where the tokens lie.
        last_tokens: int64 [sequences that get a token]: the indices of their last tokens; `None` if
            every token is one.
        has_rules: Whether a token's row has rules; for a step that is recorded this is not known.
    """

    input_ids: torch.Tensor
    steering_lines: torch.Tensor
    layout: Layout
    last_tokens: torch.Tensor | None = None
    has_rules: bool = False

    def giving(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the rows of `states`, [tokens, size], whose next token is sampled."""
        return states if self.last_tokens is None else states.index_select(0, self.last_tokens)


def packed_batch(
    columns: torch.Tensor,
    num_generating: int,
    max_reach: int,
    last_tokens: torch.Tensor | None = None,
    prompts: SequenceOf[Span] = (),
    prompt_group: SpanGroup | None = None,
    *,
    has_rules: bool = False,
) -> PackedBatch:
    """Makes a batch of columns, int64 [4, tokens]: see `RowState.take` and `Layout`."""
    tokens, positions, first_slots, lines = columns.unbind()
    slots = first_slots + positions
    layout = Layout(slots, positions, num_generating, max_reach, prompts, prompt_group)
    return PackedBatch(tokens, lines, layout, last_tokens, has_rules)


@dataclass(frozen=True, slots=True)
class StepSize:
    """The size of a step with prompts.

    Attributes:
        num_rows: The number of generating sequences.
        num_tokens: The number of prompt tokens.
        num_last: The number of sequences that get a token.
        num_pieces: The number of pieces that prompts are cut into for attention; 0 if they are not.
    """

    num_rows: int
    num_tokens: int
    num_last: int
    num_pieces: int = 0

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """The number of elements of its rows, columns, last tokens and pieces."""
        pieces = 3 * (self.num_pieces + 1) if self.num_pieces else 0
        return self.num_rows, 4 * self.num_tokens, self.num_last, pieces

    @property
    def length(self) -> int:
        """The number of elements of all parts together."""
        return sum(self.parts)


class StepTensors:
    """The description of a step with prompts: views of one tensor, which is sent in one copy.

    Attributes:
        numbers: int64: the tensor, of which only `size.length` elements are used.
        rows: int64 [rows]: the generating rows.
        columns: int64 [4, tokens]: for the prompts' tokens what `RowState.take` returns for rows.
        last_tokens: See `PackedBatch`.
        pieces: int64 [3, pieces + 1]: their starts, first slots and reaches; see `SpanGroup`.
    """

    def __init__(self, numbers: torch.Tensor, size: StepSize) -> None:
        self.size = size
        self.numbers = numbers[: size.length]
        self.rows, columns, self.last_tokens, pieces = self.numbers.split(size.parts)
        self.columns = columns.view(4, -1)
        self.pieces = pieces.view(3, -1)

    def write(self, rows: NDArray[np.int64], prompts: SequenceOf[Slice]) -> list[Span]:
        """Writes generating rows and prompts, as many as fit; returns the prompts' chunks."""
        num_rows = self.size.num_rows
        self.rows[: len(rows)] = torch.from_numpy(rows)
        columns = self.columns.numpy()
        last_tokens = list(range(len(rows)))
        spans: list[Span] = []
        offset = 0
        for slice in prompts:
            end = offset + slice.length
            tokens, positions, first_slots, lines = columns[:, offset:end]
            tokens[:] = slice.sequence.token_ids[slice.start : slice.end]
            positions[:] = np.arange(slice.start, slice.end)
            first_slots[:] = first_slot = first_slot_of(slice.sequence)
            lines[:] = prompt_line(row_of(slice.sequence), slice.sequence.steering)
            spans.append(Span(num_rows + offset, slice.length, first_slot, slice.end))
            if slice.gives_token:
                last_tokens.append(num_rows + end - 1)
            offset = end
        self.last_tokens[: len(last_tokens)] = torch.tensor(last_tokens, dtype=torch.int64)
        return spans


def row_of(sequence: Sequence) -> int:
    """Returns a running sequence's row of the batch; raises `ValueError` if it has none."""
    if sequence.row is None:
        raise ValueError("a sequence without a row cannot be computed")
    return sequence.row


def rows_of(sequences: SequenceOf[Sequence]) -> NDArray[np.int64]:
    """Returns running sequences' rows of the batch, int64 [sequences]; raises as `row_of` does."""
    return np.array([row_of(sequence) for sequence in sequences], dtype=np.int64)


def first_slot_of(sequence: Sequence) -> int:
    """Returns the slot of a running sequence's first token; raises `ValueError` without one."""
    if sequence.extent is None:
        raise ValueError("a sequence without room in the KV cache cannot be computed")
    return sequence.extent.start
