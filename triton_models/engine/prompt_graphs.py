"""CUDA graphs for the forward pass of steps with prompts, up to their logits.

A graph is recorded for each pair of a few numbers of generating rows and of prompt tokens; a step
is replayed by the smallest that it fits. Its description is sent as one tensor, padded to the
graph's size: rows with the dummy row, prompts with dummy tokens that write to reserved slot 0.

The attention kernel is launched for a fixed number of pieces of fixed maximum length. So prompts
are cut into pieces of as many tokens as one program computes: unused pieces then cost almost
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.decode_graphs import Capture
from triton_models.engine.packed_batch import StepSize, StepTensors, rows_of
from triton_models.engine.scheduler import Plan, Slice
from triton_models.model.attention import Span, SpanGroup
from triton_models.model.upload import upload

Forward = Callable[[StepTensors, SpanGroup], None]
"""Computes a step's logits from tensors alone; the group describes the prompts."""

ROW_COUNTS = (0, 16, 64, 128, 256, 512)
"""The numbers of generating rows to record graphs for, up to the batch size."""

TOKEN_COUNTS = (128, 256, 512, 768, 1024, 1536, 2048)
"""The numbers of prompt tokens to record graphs for: with more, the GPU takes longer than the
launch anyway."""

MAX_PROMPTS = 64
"""The maximum number of prompts in a replayed step."""

PIECE_TOKENS = 128
"""How many tokens of a prompt one program of FlashAttention-2 computes."""


class PromptGraphs:
    """Replays the forward pass of steps with at most `num_tokens` tokens of prompts."""

    def __init__(
        self,
        forward: Forward,
        num_rows: int,
        num_tokens: int,
        context_length: int,
        dummy_row: int,
        device: torch.device,
        capture: Capture,
    ) -> None:
        self._device = device
        self._dummy_row = dummy_row
        self._row_counts = _counts(ROW_COUNTS, num_rows)
        self._token_counts = _counts(TOKEN_COUNTS, min(num_tokens, TOKEN_COUNTS[-1]))
        self._num_rows = num_rows
        sizes = [
            self._size(rows, tokens)
            for tokens, rows in product(reversed(self._token_counts), reversed(self._row_counts))
        ]
        length = max(size.length for size in sizes)
        self._numbers = torch.zeros(length, dtype=torch.int64, device=device)

        def recorded(size: StepSize) -> Callable[[], None]:
            self._send(size, np.empty(0, dtype=np.int64), ())
            tensors = StepTensors(self._numbers, size)
            return capture(lambda: forward(tensors, _group(tensors, context_length)))

        # The largest first: the others reuse its memory.
        self._replays = {size: recorded(size) for size in sizes}

    @property
    def max_tokens(self) -> int:
        """The maximum number of prompt tokens in a replayed step."""
        return self._token_counts[-1]

    def fits(self, plan: Plan) -> bool:
        """Whether a graph was recorded for a step of this size."""
        num_tokens = plan.num_tokens - len(plan.generating)
        return num_tokens <= self.max_tokens and len(plan.prompts) <= MAX_PROMPTS

    def run(self, plan: Plan) -> None:
        """Computes a step's logits by the smallest graph that it fits."""
        num_rows = len(plan.generating)
        num_tokens = plan.num_tokens - num_rows
        size = self._size(
            min(count for count in self._row_counts if count >= num_rows),
            min(count for count in self._token_counts if count >= num_tokens),
        )
        self._send(size, rows_of(plan.generating), plan.prompts)
        self._replays[size]()

    def _size(self, num_rows: int, num_tokens: int) -> StepSize:
        num_last = min(num_rows + MAX_PROMPTS, self._num_rows)
        # Each prompt, and the padding, can end with a partial piece.
        num_pieces = -(-num_tokens // PIECE_TOKENS) + MAX_PROMPTS + 1
        return StepSize(num_rows, num_tokens, num_last, num_pieces)

    def _send(self, size: StepSize, rows: NDArray[np.int64], prompts: SequenceOf[Slice]) -> None:
        # Zeros are padding: dummy tokens that write to slot 0, and last tokens of index 0.
        tensors = StepTensors(torch.zeros(size.length, dtype=torch.int64), size)
        tensors.rows[len(rows) :] = self._dummy_row
        spans = tensors.write(rows, prompts)
        _write_pieces(tensors, spans)
        self._numbers[: size.length].copy_(upload(tensors.numbers, self._device))


def _counts(counts: SequenceOf[int], maximum: int) -> list[int]:
    return [*(count for count in counts if count < maximum), maximum]


def _group(tensors: StepTensors, context_length: int) -> SpanGroup:
    starts, first_slots, reaches = tensors.pieces.int()
    return SpanGroup(starts, first_slots, reaches[:-1], PIECE_TOKENS, context_length)


def _write_pieces(tensors: StepTensors, spans: SequenceOf[Span]) -> None:
    """Writes the pieces of all prompt tokens; unused pieces are empty."""
    first, end = tensors.size.num_rows, tensors.size.num_rows + tensors.size.num_tokens
    filled = spans[-1].offset + spans[-1].length if spans else first
    pieces = [piece for span in spans for piece in _cut(span)]
    # Padding attends to slot 0 only, whose keys and values are always finite.
    pieces += [
        Span(offset, min(PIECE_TOKENS, end - offset), 0, 1)
        for offset in range(filled, end, PIECE_TOKENS)
    ]
    starts, first_slots, reaches = tensors.pieces.numpy()
    count = len(pieces)
    starts[:count] = [piece.offset - first for piece in pieces]
    starts[count:] = end - first
    first_slots[:count] = [piece.first_slot for piece in pieces]
    reaches[:count] = [piece.reach for piece in pieces]


def _cut(span: Span) -> Iterator[Span]:
    """Yields the pieces of a prompt's chunk: each attends to its sequence up to its own end."""
    for start in range(0, span.length, PIECE_TOKENS):
        length = min(PIECE_TOKENS, span.length - start)
        reach = span.reach - (span.length - start - length)
        yield Span(span.offset + start, length, span.first_slot, reach)
