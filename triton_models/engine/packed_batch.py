"""A step's tokens, packed into one sequence for one forward pass.

The tokens of all slices stand side by side, without padding: first one token of each generating
sequence, then the prompts' chunks. What tells them apart travels as tensors beside them.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from triton_models.engine.scheduler import Slice
from triton_models.steering.hooks import UNSTEERED_LINE, SteeringTable


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prompt's chunk inside the packed tokens.

    Attributes:
        row: The sequence's row of the KV cache.
        offset: Where the chunk begins in the packed tokens.
        start: The position of its first token in the sequence.
        length: How many tokens it has.
    """

    row: int
    offset: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The tensors of one step. `tokens` is the number of tokens packed.

    Attributes:
        input_ids: int64 [tokens].
        positions: int64 [tokens]: each token's position in its own sequence.
        rows: int64 [tokens]: each token's row of the KV cache.
        steering_rows: int64 [tokens]: each token's line of the steering table.
        logit_indices: int64 [slices that reach their last token]: where those tokens stand.
        num_decodes: How many tokens at the front are single tokens of generating sequences.
        decode_rows_are_first: Whether those sequences have rows 0, 1, 2, ... in this order.
        longest_decode: The most tokens that any of them attends to.
        prefills: The prompts' chunks behind them.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    rows: torch.Tensor
    steering_rows: torch.Tensor
    logit_indices: torch.Tensor
    num_decodes: int
    decode_rows_are_first: bool
    longest_decode: int
    prefills: tuple[Prefill, ...]


def pack(slices: SequenceOf[Slice], device: torch.device) -> PackedBatch:
    """Packs a step's slices, single tokens first, as `Scheduler.plan` orders them."""
    input_ids: list[int] = []
    positions: list[int] = []
    rows: list[int] = []
    steering_rows: list[int] = []
    logit_indices: list[int] = []
    prefills: list[Prefill] = []
    decode_rows: list[int] = []
    longest_decode = 0
    for slice in slices:
        sequence = slice.sequence
        row = _row_of(slice)
        if slice.length == 1 and not prefills:
            decode_rows.append(row)
            longest_decode = max(longest_decode, slice.end)
        else:
            prefills.append(Prefill(row, len(input_ids), slice.start, slice.length))
        input_ids += sequence.token_ids[slice.start : slice.end]
        positions += range(slice.start, slice.end)
        rows += [row] * slice.length
        steering_rows += _steering_rows(slice, row)
        if slice.reaches_last_token:
            logit_indices.append(len(input_ids) - 1)

    def tensor(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=device)

    return PackedBatch(
        input_ids=tensor(input_ids),
        positions=tensor(positions),
        rows=tensor(rows),
        steering_rows=tensor(steering_rows),
        logit_indices=tensor(logit_indices),
        num_decodes=len(decode_rows),
        decode_rows_are_first=decode_rows == list(range(len(decode_rows))),
        longest_decode=longest_decode,
        prefills=tuple(prefills),
    )


def _steering_rows(slice: Slice, row: int) -> list[int]:
    """Returns the line of the steering table for each token of a slice."""
    sequence, delta = slice.sequence, slice.sequence.delta
    line = SteeringTable.line_of(row)
    num_of_prompt = min(max(sequence.num_prompt_tokens - slice.start, 0), slice.length)
    prompt_line = line if delta.steers_prompt else UNSTEERED_LINE
    response_line = line if delta.steers_response else UNSTEERED_LINE
    return [prompt_line] * num_of_prompt + [response_line] * (slice.length - num_of_prompt)


def _row_of(slice: Slice) -> int:
    if slice.sequence.row is None:
        raise ValueError("a sequence without a row cannot be computed")
    return slice.sequence.row
