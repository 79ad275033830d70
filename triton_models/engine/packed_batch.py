"""A step's tokens, packed into one sequence for one forward pass.

The tokens of all slices stand side by side, without padding: first one token of each generating
sequence, then the prompts' chunks. What tells them apart travels as tensors beside them.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from triton_models.engine.scheduler import Slice
from triton_models.engine.sequence import Sequence
from triton_models.engine.upload import upload
from triton_models.steering.hooks import UNSTEERED_LINE, SteeringTable


@dataclass(frozen=True, slots=True)
class Span:
    """A slice's place in the packed tokens and in the KV cache.

    Attributes:
        offset: Where its first token stands in the packed tokens.
        length: How many tokens it has.
        first_slot: The cache slot of its sequence's first token.
        reach: How many tokens its last token attends to: all of its sequence up to itself.
    """

    offset: int
    length: int
    first_slot: int
    reach: int


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The tensors of one step. `tokens` is the number of tokens packed.

    Attributes:
        input_ids: int64 [tokens].
        positions: int64 [tokens]: each token's position in its own sequence.
        slots: int64 [tokens]: where in the cache each token's keys and values go.
        steering_rows: int64 [tokens]: each token's line of the steering table.
        logit_indices: int64 [slices that give a token]: where their last tokens stand.
        decodes: The slices at the front that have a single token.
        prefills: The slices behind them.
        token_starts: int32 [slices + 1]: where each slice begins in the packed tokens.
        first_slots: int32 [slices + 1]: each slice's `first_slot`, and one that is not used.
        reaches: int32 [slices]: each slice's `reach`.
        longest_slice: The most tokens in a slice.
        longest_reach: The most tokens that one attends to, or more.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    slots: torch.Tensor
    steering_rows: torch.Tensor
    logit_indices: torch.Tensor
    decodes: tuple[Span, ...]
    prefills: tuple[Span, ...]
    token_starts: torch.Tensor
    first_slots: torch.Tensor
    reaches: torch.Tensor
    longest_slice: int
    longest_reach: int


@dataclass(frozen=True, slots=True)
class HostBatch:
    """A step's tokens on the host: what `PackedBatch` holds as tensors, as lists.

    Attributes:
        input_ids: See `PackedBatch`, as for the next four.
        positions: See there.
        slots: See there.
        steering_rows: See there.
        logit_indices: See there.
        spans: Every slice, single tokens first.
        num_decodes: How many of the spans have a single token.
        in_flight: For each token that is not known on the host yet: its place in the packed
            tokens, and the row of the batch whose newest token it is.
    """

    input_ids: tuple[int, ...]
    positions: tuple[int, ...]
    slots: tuple[int, ...]
    steering_rows: tuple[int, ...]
    logit_indices: tuple[int, ...]
    spans: tuple[Span, ...]
    num_decodes: int
    in_flight: tuple[tuple[int, int], ...]


def pack(slices: SequenceOf[Slice]) -> HostBatch:
    """Packs a step's slices, single tokens first, as `Scheduler.plan` orders them."""
    input_ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    steering_rows: list[int] = []
    logit_indices: list[int] = []
    spans: list[Span] = []
    in_flight: list[tuple[int, int]] = []
    num_decodes = 0
    for slice in slices:
        sequence = slice.sequence
        row, first_slot = row_of(sequence), _first_slot(sequence)
        num_decodes += slice.length == 1 and num_decodes == len(spans)
        spans.append(Span(len(input_ids), slice.length, first_slot, slice.end))
        input_ids += sequence.token_ids[slice.start : slice.end]
        if len(input_ids) < spans[-1].offset + slice.length:
            in_flight.append((len(input_ids), row))
            input_ids.append(0)
        positions += range(slice.start, slice.end)
        slots += range(first_slot + slice.start, first_slot + slice.end)
        steering_rows += _steering_rows(slice, row)
        if slice.gives_token:
            logit_indices.append(len(input_ids) - 1)
    return HostBatch(
        input_ids=tuple(input_ids),
        positions=tuple(positions),
        slots=tuple(slots),
        steering_rows=tuple(steering_rows),
        logit_indices=tuple(logit_indices),
        spans=tuple(spans),
        num_decodes=num_decodes,
        in_flight=tuple(in_flight),
    )


def upload_batch(batch: HostBatch, last_tokens: torch.Tensor, device: torch.device) -> PackedBatch:
    """Brings a batch to the device.

    Args:
        batch: The batch.
        last_tokens: int64 [batch rows], on the device: each row's newest token, which takes the
            place of a token that is still in flight.
        device: Where the tensors go.
    """

    def tensor(values: SequenceOf[int], dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return upload(values, device, dtype)

    ids = tensor(batch.input_ids)
    if batch.in_flight:
        places, rows = zip(*batch.in_flight, strict=True)
        ids[tensor(places)] = last_tokens[tensor(rows)]
    spans = batch.spans
    return PackedBatch(
        input_ids=ids,
        positions=tensor(batch.positions),
        slots=tensor(batch.slots),
        steering_rows=tensor(batch.steering_rows),
        logit_indices=tensor(batch.logit_indices),
        decodes=spans[: batch.num_decodes],
        prefills=spans[batch.num_decodes :],
        token_starts=tensor([*(span.offset for span in spans), len(batch.input_ids)], torch.int32),
        first_slots=tensor([*(span.first_slot for span in spans), 0], torch.int32),
        reaches=tensor([span.reach for span in spans], torch.int32),
        longest_slice=max(span.length for span in spans),
        longest_reach=max(span.reach for span in spans),
    )


def _steering_rows(slice: Slice, row: int) -> list[int]:
    """Returns the line of the steering table for each token of a slice."""
    sequence, delta = slice.sequence, slice.sequence.delta
    line = SteeringTable.line_of(row)
    num_of_prompt = min(max(sequence.num_prompt_tokens - slice.start, 0), slice.length)
    prompt_line = line if delta.steers_prompt else UNSTEERED_LINE
    response_line = line if delta.steers_response else UNSTEERED_LINE
    return [prompt_line] * num_of_prompt + [response_line] * (slice.length - num_of_prompt)


def row_of(sequence: Sequence) -> int:
    """Returns a running sequence's row of the batch.

    Raises:
        ValueError: It does not run.
    """
    if sequence.row is None:
        raise ValueError("a sequence without a row cannot be computed")
    return sequence.row


def _first_slot(sequence: Sequence) -> int:
    if sequence.extent is None:
        raise ValueError("a sequence without room in the KV cache cannot be computed")
    return sequence.extent.start
