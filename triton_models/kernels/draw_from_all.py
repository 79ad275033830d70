"""Sampling from the whole vocabulary without sorting it; see `sampling.draw_from_all`.

One program per row reads the row about ten times; after the first it is in the GPU's cache. It
searches for the smallest logit that top-k keeps, then for the smallest of those that top-p keeps:
each pass adds up what lies above four thresholds and so cuts the range to a fifth. The search is
over integers in the order of the logits, so it ends for any logits. The order of summation is
fixed, so the same logits and the same draw give the same token in any batch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_LANES = tl.constexpr(2048)
"""The number of partial sums of a pass, four per thread."""

_ROWS = tl.constexpr(4)
"""How many rows of lanes an iteration reads: twice as many do not fit the registers."""

_NUM_WARPS = 16

_COLUMNS = ["wanted", "temperature", "top_k", "top_p", "min_p", "draws", "chosen"]
"""Arguments of which a program reads one element, so their alignment does not matter."""


def draw_from_all(
    logits: torch.Tensor,
    wanted: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    draws: torch.Tensor,
    chosen: torch.Tensor,
) -> None:
    """Does what `sampling.draw_where` does, on the GPU; all tensors are contiguous.

    It neither synchronizes nor allocates, so a CUDA graph can hold it. Where the logits are not
    finite, it chooses an arbitrary token of the vocabulary.
    """
    num_rows, vocabulary = logits.shape
    draw_kernel[(num_rows,)](
        logits,
        wanted.view(torch.int8),
        temperature,
        top_k,
        top_p,
        min_p,
        draws,
        chosen,
        vocabulary,
        num_warps=_NUM_WARPS,
    )


@triton.jit(do_not_specialize_on_alignment=_COLUMNS)
def draw_kernel(
    logits: tl.tensor,
    wanted: tl.tensor,
    temperature: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
    min_p: tl.tensor,
    draws: tl.tensor,
    chosen: tl.tensor,
    vocabulary: tl.tensor,
) -> None:
    """Samples one row; the arguments are those of `draw_from_all`, and the vocabulary size."""
    row = tl.program_id(0).to(tl.int64)
    if tl.load(wanted + row) == 0:
        return
    logits += row * vocabulary
    max_logit, shift = _survey(logits, vocabulary)
    row_temperature = tl.load(temperature + row)
    row_top_k = tl.load(top_k + row)
    row_top_p = tl.load(top_p + row)
    outside = _rank(float("-inf"), shift)
    if row_top_k > 0:
        outside = _search(
            logits, vocabulary, max_logit, 1.0, row_top_k.to(tl.float32), outside, shift, False
        )
    if row_top_p < float("inf"):
        outside = _search(
            logits, vocabulary, max_logit, row_temperature, row_top_p, outside, shift, True
        )
    bound = _highest(outside, shift)
    row_min_p = tl.load(min_p + row)
    token = _pick(
        logits, vocabulary, max_logit, row_temperature, bound, row_min_p, tl.load(draws + row)
    )
    tl.store(chosen + row, token.to(tl.int64))


@triton.jit
def _tile(
    logits: tl.tensor, start: tl.tensor, vocabulary: tl.tensor, rows: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Loads adjacent logits, [rows, lanes], and returns them with their indices."""
    columns = tl.arange(0, _LANES)[None, :]
    places = start + tl.arange(0, rows)[:, None] * _LANES + columns
    return tl.load(logits + places, mask=places < vocabulary, other=float("-inf")), places


@triton.jit
def _survey(logits: tl.tensor, vocabulary: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Returns the largest logit, and how many low bits are zero in all logits.

    Logits that were computed in half precision differ in their high bits only, which halves the
    search.
    """
    max_values = tl.full([_LANES], float("-inf"), tl.float32)
    bfloat16_rest = tl.zeros([_LANES], tl.int32)
    float16_rest = tl.zeros([_LANES], tl.int32)
    for start in range(0, vocabulary, _ROWS * _LANES):
        values, _ = _tile(logits, start, vocabulary, _ROWS)
        bits = values.to(tl.int32, bitcast=True)
        max_values = tl.maximum(max_values, tl.max(values, axis=0))
        bfloat16_rest = tl.maximum(bfloat16_rest, tl.max(bits & 0xFFFF, axis=0))
        float16_rest = tl.maximum(float16_rest, tl.max(bits & 0x1FFF, axis=0))
    float16_shift = tl.where(tl.max(float16_rest) == 0, 13, 0)
    return tl.max(max_values), tl.where(tl.max(bfloat16_rest) == 0, 16, float16_shift)


@triton.jit
def _rank(value: tl.tensor, shift: tl.tensor) -> tl.tensor:
    """Returns an int64 in the order of floats, from their bits without the lowest `shift`."""
    bits = tl.cast(value, tl.float32).to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # a negative float's bits grow as it falls
    return (ordered >> shift).to(tl.int64)


@triton.jit
def _highest(rank: tl.tensor, shift: tl.tensor) -> tl.tensor:
    """Returns the largest float of a rank."""
    ordered = (((rank + 1) << shift) - 1).to(tl.int32)
    return (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _search(
    logits: tl.tensor,
    vocabulary: tl.tensor,
    max_logit: tl.tensor,
    temperature: tl.tensor,
    amount: tl.tensor,
    outside: tl.tensor,
    shift: tl.tensor,
    weighed: tl.constexpr,
) -> tl.tensor:
    """Returns the largest rank to drop, because enough lies above it.

    `amount` is what must lie above: a number of logits, or, if `weighed`, a share of their
    probabilities. If logits are counted, the temperature is the scale of the first thresholds.
    `outside` is the largest rank that is dropped already; for `shift` see `_survey`.
    """
    inside = _rank(max_logit, shift)
    # The first thresholds are where the answer usually is; later ones are evenly spaced.
    first = outside
    second = _clamp(_rank(max_logit - 12 * temperature, shift), outside, inside - 1)
    third = _clamp(_rank(max_logit - 6 * temperature, shift), outside, inside - 1)
    fourth = _clamp(_rank(max_logit - 2.5 * temperature, shift), outside, inside - 1)
    limit = amount
    searching = True
    is_first = True
    while searching:
        sums = _sums_above(
            logits,
            vocabulary,
            max_logit,
            temperature,
            _highest(first, shift),
            _highest(second, shift),
            _highest(third, shift),
            _highest(fourth, shift),
            weighed,
        )
        if weighed:
            limit = tl.where(is_first, amount * sums[0], limit)
        is_first = False
        outside, inside = _narrow(outside, inside, first, sums[0] < limit)
        outside, inside = _narrow(outside, inside, second, sums[1] < limit)
        outside, inside = _narrow(outside, inside, third, sums[2] < limit)
        outside, inside = _narrow(outside, inside, fourth, sums[3] < limit)
        width = inside - outside
        searching = width > 1
        first = outside + width // 5
        second = outside + 2 * width // 5
        third = outside + 3 * width // 5
        fourth = outside + 4 * width // 5
    return outside


@triton.jit
def _clamp(rank: tl.tensor, minimum: tl.tensor, maximum: tl.tensor) -> tl.tensor:
    return tl.maximum(tl.minimum(rank, maximum), minimum)


@triton.jit
def _narrow(
    outside: tl.tensor, inside: tl.tensor, rank: tl.tensor, is_inside: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """Narrows the range by one threshold."""
    outside = tl.where(is_inside, outside, tl.maximum(outside, rank))
    return outside, tl.where(is_inside, tl.minimum(inside, rank), inside)


@triton.jit
def _sums_above(
    logits: tl.tensor,
    vocabulary: tl.tensor,
    max_logit: tl.tensor,
    temperature: tl.tensor,
    first: tl.tensor,
    second: tl.tensor,
    third: tl.tensor,
    fourth: tl.tensor,
    weighed: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Returns what lies above four thresholds; even rounded, never more above a higher one."""
    sharpness = 1.0 / temperature
    sums_1 = tl.zeros([_LANES], tl.float32)
    sums_2 = tl.zeros([_LANES], tl.float32)
    sums_3 = tl.zeros([_LANES], tl.float32)
    sums_4 = tl.zeros([_LANES], tl.float32)
    for start in range(0, vocabulary, _ROWS * _LANES):
        values, _ = _tile(logits, start, vocabulary, _ROWS)
        weights = tl.full([_ROWS, _LANES], 1.0, tl.float32)
        if weighed:
            weights = tl.exp((values - max_logit) * sharpness)
        sums_1 += tl.sum(tl.where(values > first, weights, 0.0), axis=0)
        sums_2 += tl.sum(tl.where(values > second, weights, 0.0), axis=0)
        sums_3 += tl.sum(tl.where(values > third, weights, 0.0), axis=0)
        sums_4 += tl.sum(tl.where(values > fourth, weights, 0.0), axis=0)
    return tl.sum(sums_1), tl.sum(sums_2), tl.sum(sums_3), tl.sum(sums_4)


@triton.jit
def _pick(
    logits: tl.tensor,
    vocabulary: tl.tensor,
    max_logit: tl.tensor,
    temperature: tl.tensor,
    bound: tl.tensor,
    min_p: tl.tensor,
    draw: tl.tensor,
) -> tl.tensor:
    """Returns the first token whose cumulative probability exceeds the draw, float64 in [0, 1).

    Only logits above the bound are kept, and of them tokens at least `min_p` times as likely as the
    most likely one.
    """
    total = tl.zeros([], tl.float64)
    last = tl.zeros([], tl.int32)
    for start in range(0, vocabulary, _ROWS * _LANES):
        weights, places = _weights(
            logits, start, vocabulary, max_logit, temperature, bound, min_p, _ROWS
        )
        total += tl.sum(tl.sum(weights, axis=0))
        last = tl.maximum(last, tl.max(tl.max(tl.where(weights > 0, places, 0), axis=0)))
    target = draw * total
    # Sum again in the same order, up to the tile where the sum exceeds the target.
    before = tl.zeros([], tl.float64)
    begin = 0
    mass = _mass(logits, begin, vocabulary, max_logit, temperature, bound, min_p, _ROWS)
    while (before + mass <= target) & (begin + _ROWS * _LANES < vocabulary):
        before += mass
        begin += _ROWS * _LANES
        mass = _mass(logits, begin, vocabulary, max_logit, temperature, bound, min_p, _ROWS)
    mass = _mass(logits, begin, vocabulary, max_logit, temperature, bound, min_p, 1)
    while (before + mass <= target) & (begin + _LANES < vocabulary):
        before += mass
        begin += _LANES
        mass = _mass(logits, begin, vocabulary, max_logit, temperature, bound, min_p, 1)
    weights, places = _weights(logits, begin, vocabulary, max_logit, temperature, bound, min_p, 1)
    masses = tl.sum(weights, axis=0)
    exceeds = (masses > 0) & (before + tl.cumsum(masses) > target)
    first = tl.min(tl.where(exceeds, tl.sum(places, axis=0), vocabulary))
    # If rounding runs past them all, it is the last token that is kept.
    return tl.minimum(first, last)


@triton.jit
def _weights(
    logits: tl.tensor,
    start: tl.tensor,
    vocabulary: tl.tensor,
    max_logit: tl.tensor,
    temperature: tl.tensor,
    bound: tl.tensor,
    min_p: tl.tensor,
    rows: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Returns the probabilities of adjacent tokens relative to the largest one, and their indices.

    float64 [rows, lanes], 0 for tokens that are dropped or whose logit is NaN.
    """
    values, places = _tile(logits, start, vocabulary, rows)
    weights = tl.exp((values - max_logit) * (1.0 / temperature))
    left = (values > bound) & (weights >= min_p)
    return tl.where(left, weights, 0.0).to(tl.float64), places


@triton.jit
def _mass(
    logits: tl.tensor,
    start: tl.tensor,
    vocabulary: tl.tensor,
    max_logit: tl.tensor,
    temperature: tl.tensor,
    bound: tl.tensor,
    min_p: tl.tensor,
    rows: tl.constexpr,
) -> tl.tensor:
    """Returns the sum of `_weights`, float64."""
    weights, _ = _weights(logits, start, vocabulary, max_logit, temperature, bound, min_p, rows)
    return tl.sum(tl.sum(weights, axis=0))
