"""Matrix products of few rows, fused with the operations before and after them.

With one row the time of a step is bounded by reading the weights: each program reads some rows of a
weight once, for all tokens of the step. The root mean square of the norm before a product is a
factor of its result, so it is computed along with the product.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from triton_models.kernels.block_sizes import GATE_UP, ProductBlocks, next_power_of_two
from triton_models.kernels.elementwise import silu_gate


@triton.jit
def _scaled(
    inputs: tl.tensor,
    weight: tl.tensor,
    tokens: tl.tensor,
    num_tokens: tl.tensor,
    places: tl.tensor,
    IN_SIZE: tl.constexpr,
    NORMALIZES: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Loads inputs, float32 [rows, 1, block]: unchanged, and times the norm's weight."""
    is_place = places < IN_SIZE
    mask = (tokens < num_tokens) & is_place
    values = tl.load(inputs + tokens * IN_SIZE + places, mask=mask, other=0.0).to(tl.float32)
    scaled = values
    if NORMALIZES:
        scaled *= tl.load(weight + places, mask=is_place, other=0.0).to(tl.float32)
    return values, scaled


@triton.jit
def _weighted(weights: tl.tensor, mask: tl.tensor, scaled: tl.tensor) -> tl.tensor:
    """Loads weights, [1, features, block], and multiplies the inputs by them, float32."""
    return tl.load(weights, mask=mask, other=0.0).to(tl.float32) * scaled


@triton.jit(do_not_specialize_on_alignment=["lines"])
def _multiply(
    inputs: tl.tensor,
    norm_weight: tl.tensor,
    epsilon: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    table: tl.tensor,
    lines: tl.tensor,
    unsteered: tl.tensor,
    outputs: tl.tensor,
    num_tokens: tl.tensor,
    num_outputs: tl.tensor,
    IN_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    STAGES: tl.constexpr,
    NORMALIZES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDS: tl.constexpr,
    STEERS: tl.constexpr,
    KEEPS_UNSTEERED: tl.constexpr,
) -> None:
    """Computes some output features of all tokens."""
    # All in three dimensions, so that weights are multiplied in the layout in which they load.
    tokens = tl.arange(0, ROWS)[:, None, None]
    features = (tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS))[None, :, None]
    is_feature = features < num_outputs
    rows = weight + features.to(tl.int64) * IN_SIZE
    products = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    squares = tl.zeros((ROWS, 1, INPUTS), tl.float32)
    for begin in tl.range(0, IN_SIZE, INPUTS, num_stages=STAGES):
        places = (begin + tl.arange(0, INPUTS))[None, None, :]
        values, scaled = _scaled(
            inputs, norm_weight, tokens, num_tokens, places, IN_SIZE, NORMALIZES
        )
        mask = is_feature & (places < IN_SIZE)
        products += _weighted(rows + places, mask, scaled)
        if NORMALIZES:
            squares += values * values
    outcome = tl.sum(products, 2)
    if NORMALIZES:
        outcome *= 1.0 / tl.sqrt(tl.sum(squares, 2) / IN_SIZE + epsilon)
    token = tl.arange(0, ROWS)[:, None]
    feature = (tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS))[None, :]
    place = token * num_outputs + feature
    mask = (token < num_tokens) & (feature < num_outputs)
    if HAS_BIAS:
        outcome += tl.load(bias + feature, mask=feature < num_outputs, other=0.0).to(tl.float32)
    if ADDS:
        outcome += tl.load(residual + place, mask=mask, other=0.0).to(tl.float32)
    if KEEPS_UNSTEERED:
        tl.store(unsteered + place, outcome.to(unsteered.dtype.element_ty), mask=mask)
    if STEERS:
        line = tl.load(lines + token, mask=token < num_tokens, other=0)
        steering = tl.load(table + line * num_outputs + feature, mask=mask, other=0.0)
        outcome += steering.to(tl.float32)
    tl.store(outputs + place, outcome.to(outputs.dtype.element_ty), mask=mask)


@triton.jit
def _gate_up(
    inputs: tl.tensor,
    norm_weight: tl.tensor,
    epsilon: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    gated: tl.tensor,
    num_tokens: tl.tensor,
    num_outputs: tl.tensor,
    IN_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    STAGES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
) -> None:
    """Computes some gated features of all tokens."""
    tokens = tl.arange(0, ROWS)[:, None, None]
    features = (tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS))[None, :, None]
    is_feature = features < num_outputs
    gate_rows = weight + features.to(tl.int64) * IN_SIZE
    up_rows = gate_rows + num_outputs.to(tl.int64) * IN_SIZE
    gates = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    ups = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    squares = tl.zeros((ROWS, 1, INPUTS), tl.float32)
    for begin in tl.range(0, IN_SIZE, INPUTS, num_stages=STAGES):
        places = (begin + tl.arange(0, INPUTS))[None, None, :]
        values, scaled = _scaled(inputs, norm_weight, tokens, num_tokens, places, IN_SIZE, True)
        squares += values * values
        mask = is_feature & (places < IN_SIZE)
        gates += _weighted(gate_rows + places, mask, scaled)
        ups += _weighted(up_rows + places, mask, scaled)
    inverse = 1.0 / tl.sqrt(tl.sum(squares, 2) / IN_SIZE + epsilon)
    gate = tl.sum(gates, 2) * inverse
    up = tl.sum(ups, 2) * inverse
    token = tl.arange(0, ROWS)[:, None]
    feature = (tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS))[None, :]
    is_output = feature < num_outputs
    if HAS_BIAS:
        gate += tl.load(bias + feature, mask=is_output, other=0.0).to(tl.float32)
        up += tl.load(bias + num_outputs + feature, mask=is_output, other=0.0).to(tl.float32)
    outcome = silu_gate(gate, up)
    mask = (token < num_tokens) & is_output
    place = token * num_outputs + feature
    tl.store(gated + place, outcome.to(gated.dtype.element_ty), mask=mask)


def multiply(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    blocks: ProductBlocks,
    *,
    norm: tuple[torch.Tensor, float] | None = None,
    residual: torch.Tensor | None = None,
    steering: tuple[torch.Tensor, torch.Tensor] | None = None,
    out: torch.Tensor | None = None,
    unsteered: torch.Tensor | None = None,
) -> torch.Tensor:
    """Multiplies few tokens by a weight: [tokens, out features], rounded once.

    Args:
        inputs: [tokens, in features], contiguous.
        weight: [out features, in features], contiguous.
        bias: [out features], if there is one.
        blocks: The block sizes.
        norm: The weight, [in features], and epsilon of an RMSNorm that is applied to the inputs.
        residual: [tokens, out features], contiguous: added to the product.
        steering: A block's table, [lines, out features], and int64 [tokens], each token's line of
            it, which is added as well.
        out: [tokens, out features], contiguous: where to write the result, in its dtype.
        unsteered: Likewise, what the result would be without steering.
    """
    num_tokens, in_size = inputs.shape
    num_outputs = len(weight)
    outputs = inputs.new_empty((num_tokens, num_outputs)) if out is None else out
    norm_weight, epsilon = norm or (weight, 0.0)  # not read
    table, lines = steering or (weight, weight)
    _multiply[(triton.cdiv(num_outputs, blocks.num_outputs),)](
        inputs,
        norm_weight,
        epsilon,
        weight,
        weight if bias is None else bias,
        inputs if residual is None else residual,
        table,
        lines,
        outputs if unsteered is None else unsteered,
        outputs,
        num_tokens,
        num_outputs,
        IN_SIZE=in_size,
        ROWS=next_power_of_two(num_tokens),
        OUTPUTS=blocks.num_outputs,
        INPUTS=blocks.num_inputs,
        STAGES=blocks.num_stages,
        NORMALIZES=norm is not None,
        HAS_BIAS=bias is not None,
        ADDS=residual is not None,
        STEERS=steering is not None,
        KEEPS_UNSTEERED=unsteered is not None,
        num_warps=blocks.num_warps,
    )
    return outputs


def gate_up(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    norm: tuple[torch.Tensor, float],
) -> torch.Tensor:
    """Returns silu(gate) * up of the normalized inputs of few tokens, [tokens, size].

    Args:
        inputs: [tokens, in features], contiguous.
        weight: [2 * size, in features], contiguous: the gates first.
        bias: [2 * size], if there is one.
        norm: The weight, [in features], and epsilon of the RMSNorm that is applied to the inputs.
    """
    num_tokens, in_size = inputs.shape
    num_outputs = len(weight) // 2
    gated = inputs.new_empty((num_tokens, num_outputs))
    norm_weight, epsilon = norm
    _gate_up[(triton.cdiv(num_outputs, GATE_UP.num_outputs),)](
        inputs,
        norm_weight,
        epsilon,
        weight,
        weight if bias is None else bias,
        gated,
        num_tokens,
        num_outputs,
        IN_SIZE=in_size,
        ROWS=next_power_of_two(num_tokens),
        OUTPUTS=GATE_UP.num_outputs,
        INPUTS=GATE_UP.num_inputs,
        STAGES=GATE_UP.num_stages,
        HAS_BIAS=bias is not None,
        num_warps=GATE_UP.num_warps,
    )
    return gated
