"""Penalties for tokens that have occurred, as in `sampling.penalize`, for a whole batch.

There is one program per row of logits, which returns at once if the row has no penalties, so the
time depends only on the lengths of penalized rows. A token can occur several times, so a program
first computes all new values and writes them when all its threads have done so.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = tl.constexpr(2048)
_NUM_WARPS = 8
_AMOUNTS = ("repetition", "frequency", "presence")


def penalize(
    logits: torch.Tensor,
    rows: torch.Tensor,
    lengths: torch.Tensor,
    tokens: torch.Tensor,
    prompt_lengths: torch.Tensor,
    repetition: torch.Tensor,
    frequency: torch.Tensor,
    presence: torch.Tensor,
) -> None:
    """Does what `sampling.penalize_rows` does, on the GPU; all tensors are contiguous.

    It does not synchronize, so a CUDA graph can hold it. Tokens beyond the lengths are not read,
    and a length of 0 changes nothing.
    """
    num_tokens, vocabulary = logits.shape
    context = tokens.shape[1]
    notes = torch.empty(num_tokens, context, dtype=torch.float32, device=logits.device)
    penalize_kernel[(num_tokens,)](
        logits,
        rows,
        lengths,
        tokens,
        prompt_lengths,
        repetition,
        frequency,
        presence,
        notes,
        vocabulary,
        context,
        num_warps=_NUM_WARPS,
    )


@triton.jit(do_not_specialize_on_alignment=["rows", "lengths", "prompt_lengths", *_AMOUNTS])
def penalize_kernel(
    logits: tl.tensor,
    rows: tl.tensor,
    lengths: tl.tensor,
    tokens: tl.tensor,
    prompt_lengths: tl.tensor,
    repetition: tl.tensor,
    frequency: tl.tensor,
    presence: tl.tensor,
    notes: tl.tensor,
    vocabulary: tl.tensor,
    context: tl.tensor,
) -> None:
    """Penalizes one row of logits; the arguments are those of `penalize`, and a buffer for notes.

    The barriers make all threads of the program finish reading, or writing, before one continues.
    No other program touches these logits.
    """
    place = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + place)
    factor = tl.load(repetition + row)
    each_time = tl.load(frequency + row)
    once = tl.load(presence + row)
    if (factor == 1.0) & (each_time == 0.0) & (once == 0.0):
        return
    logits += place * vocabulary
    notes += place * context
    tokens += row * context
    length = tl.minimum(tl.load(lengths + place), context).to(tl.int32)
    answer = tl.load(prompt_lengths + row).to(tl.int32)
    if factor != 1.0:
        for start in range(0, length, _BLOCK):
            targets, ranks, known = _targets(logits, tokens, start, length)
            values = tl.load(targets, mask=known, other=0.0)
            lowered = tl.where(values < 0, values * factor, tl.div_rn(values, factor))
            tl.store(notes + ranks, lowered, mask=known)
        tl.debug_barrier()
        _write_notes(logits, tokens, notes, 0, length)
        tl.debug_barrier()
    if each_time != 0.0:
        for start in range(answer, length, _BLOCK):
            targets, _, known = _targets(logits, tokens, start, length)
            # All addends of a token are equal, so their order does not matter.
            tl.atomic_add(targets, tl.where(known, -each_time, 0.0), mask=known, sem="relaxed")
        tl.debug_barrier()
    if once != 0.0:
        for start in range(answer, length, _BLOCK):
            targets, ranks, known = _targets(logits, tokens, start, length)
            # Atomics bypass the L1 cache, so this load must as well.
            values = tl.load(targets, mask=known, other=0.0, cache_modifier=".cg")
            tl.store(notes + ranks, values - once, mask=known)
        tl.debug_barrier()
        _write_notes(logits, tokens, notes, answer, length)


@triton.jit
def _targets(
    logits: tl.tensor, tokens: tl.tensor, start: tl.tensor, length: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Returns pointers to adjacent tokens' logits, the tokens' ranks, and whether they exist."""
    ranks = start + tl.arange(0, _BLOCK)
    known = ranks < length
    return logits + tl.load(tokens + ranks, mask=known, other=0), ranks, known


@triton.jit
def _write_notes(
    logits: tl.tensor, tokens: tl.tensor, notes: tl.tensor, first: tl.tensor, length: tl.tensor
) -> None:
    """Writes the notes from the first rank on: all occurrences of a token write the same value."""
    for start in range(first, length, _BLOCK):
        targets, ranks, known = _targets(logits, tokens, start, length)
        tl.store(targets, tl.load(notes + ranks, mask=known, other=0.0), mask=known)
