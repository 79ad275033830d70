"""A step's tokens, packed side by side for one forward pass.

First one token of each generating sequence, then the prompts' chunks, without padding. What tells
them apart travels as tensors beside them. A generating sequence's newest token is on the device
already, whether the host knows it yet or not, so only its row of the batch is sent.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from triton_models.engine.scheduler import Slice
from triton_models.engine.sequence import Sequence
from triton_models.model.attention import Layout, Span
from triton_models.model.upload import upload
from triton_models.steering.hooks import UNSTEERED_LINE, SteeringTable


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """The tensors of one step.

    Attributes:
        input_ids: int64 [tokens].
        steering_lines: int64 [tokens]: each token's line of the steering table.
        layout: Where the tokens lie.
        prompt_ends: int64 [prompts that get a token]: where their last tokens stand. Generating
            sequences, which stand first, all get one.
    """

    input_ids: torch.Tensor
    steering_lines: torch.Tensor
    layout: Layout
    prompt_ends: torch.Tensor | None = None

    def giving(self, states: torch.Tensor) -> torch.Tensor:
        """Returns of states, [tokens, size], those of the tokens that get a next one."""
        if self.prompt_ends is None:
            return states
        return torch.cat((states[: self.layout.num_generating], states[self.prompt_ends]))


def generating_batch(columns: torch.Tensor, longest_reach: int) -> PackedBatch:
    """Makes a batch of single tokens from where their rows stand.

    Args:
        columns: int64 [4, tokens]: see `RowState.take`.
        longest_reach: The most tokens that one attends to, or more.
    """
    tokens, positions, first_slots, lines = columns.unbind()
    layout = Layout(first_slots + positions, positions, columns.shape[1], longest_reach)
    return PackedBatch(tokens, lines, layout)


def prompt_batch(prompts: SequenceOf[Slice], device: torch.device) -> PackedBatch:
    """Brings a step's prompt tokens to the device."""
    input_ids: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    lines: list[int] = []
    ends: list[int] = []
    spans: list[Span] = []
    for slice in prompts:
        sequence, row = slice.sequence, row_of(slice.sequence)
        first_slot = first_slot_of(sequence)
        spans.append(Span(len(input_ids), slice.length, first_slot, slice.end))
        input_ids += sequence.token_ids[slice.start : slice.end]
        positions += range(slice.start, slice.end)
        slots += range(first_slot + slice.start, first_slot + slice.end)
        steers = sequence.delta.steers_prompt
        lines += [SteeringTable.line_of(row) if steers else UNSTEERED_LINE] * slice.length
        if slice.gives_token:
            ends.append(len(input_ids) - 1)

    layout = Layout(upload(slots, device), upload(positions, device), prompts=spans)
    return PackedBatch(
        upload(input_ids, device), upload(lines, device), layout, upload(ends, device)
    )


def join(generating: PackedBatch, prompts: PackedBatch) -> PackedBatch:
    """Returns one batch of generating tokens and prompts."""
    front, back = generating.layout, prompts.layout
    layout = Layout(
        torch.cat((front.slots, back.slots)),
        torch.cat((front.positions, back.positions)),
        front.num_generating,
        front.longest_reach,
        back.prompts,
    )
    ends = prompts.prompt_ends
    return PackedBatch(
        torch.cat((generating.input_ids, prompts.input_ids)),
        torch.cat((generating.steering_lines, prompts.steering_lines)),
        layout,
        None if ends is None else ends + front.num_generating,
    )


def row_of(sequence: Sequence) -> int:
    """Returns a running sequence's row of the batch.

    Raises:
        ValueError: It does not run.
    """
    if sequence.row is None:
        raise ValueError("a sequence without a row cannot be computed")
    return sequence.row


def first_slot_of(sequence: Sequence) -> int:
    """Returns the cache slot of a running sequence's first token.

    Raises:
        ValueError: It has no room in the KV cache.
    """
    if sequence.extent is None:
        raise ValueError("a sequence without room in the KV cache cannot be computed")
    return sequence.extent.start
