"""Matrix products of few rows, with what stands before and behind them in the same kernel.

With one row a step takes as long as reading the weights does, if nothing else is in its way: here
each program reads some rows of a weight, once, for all tokens of the step. The root mean square of
the norm before a product is a factor of its result, so it is worked out beside the product.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from triton_models.kernels.block_sizes import GATE_UP, ProductBlocks, next_power_of_two


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
    """Loads inputs [rows, block], float32: as they are, and times the norm's weight."""
    is_place = places < IN_SIZE
    values = tl.load(
        inputs + tokens[:, None] * IN_SIZE + places[None, :],
        mask=(tokens < num_tokens)[:, None] & is_place[None, :],
        other=0.0,
    ).to(tl.float32)
    scaled = values
    if NORMALIZES:
        scaled *= tl.load(weight + places, mask=is_place, other=0.0).to(tl.float32)[None, :]
    return values, scaled


@triton.jit
def _multiply(
    inputs: tl.tensor,
    norm_weight: tl.tensor,
    epsilon: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    residual: tl.tensor,
    table: tl.tensor,
    lines: tl.tensor,
    outputs: tl.tensor,
    num_tokens: tl.tensor,
    num_outputs: tl.tensor,
    IN_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    NORMALIZES: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDS: tl.constexpr,
    STEERS: tl.constexpr,
) -> None:
    """Some output features of all tokens."""
    tokens = tl.arange(0, ROWS)
    features = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_feature = features < num_outputs
    products = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    squares = tl.zeros((ROWS, INPUTS), tl.float32)
    rows = weight + features.to(tl.int64)[:, None] * IN_SIZE
    for begin in range(0, IN_SIZE, INPUTS):
        places = begin + tl.arange(0, INPUTS)
        values, scaled = _scaled(
            inputs, norm_weight, tokens, num_tokens, places, IN_SIZE, NORMALIZES
        )
        mask = is_feature[:, None] & (places < IN_SIZE)[None, :]
        weights = tl.load(rows + places[None, :], mask=mask, other=0.0).to(tl.float32)
        products += weights[None, :, :] * scaled[:, None, :]
        if NORMALIZES:
            squares += values * values
    outcome = tl.sum(products, 2)
    if NORMALIZES:
        outcome *= (1.0 / tl.sqrt(tl.sum(squares, 1) / IN_SIZE + epsilon))[:, None]
    place = tokens[:, None] * num_outputs + features[None, :]
    mask = (tokens < num_tokens)[:, None] & is_feature[None, :]
    if HAS_BIAS:
        outcome += tl.load(bias + features, mask=is_feature, other=0.0).to(tl.float32)[None, :]
    if ADDS:
        outcome += tl.load(residual + place, mask=mask, other=0.0).to(tl.float32)
    if STEERS:
        line = tl.load(lines + tokens, mask=tokens < num_tokens, other=0)
        steered = line[:, None] * num_outputs + features[None, :]
        outcome += tl.load(table + steered, mask=mask, other=0.0).to(tl.float32)
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
    HAS_BIAS: tl.constexpr,
) -> None:
    """Some gated features of all tokens."""
    tokens = tl.arange(0, ROWS)
    features = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    is_feature = features < num_outputs
    gates = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    ups = tl.zeros((ROWS, OUTPUTS, INPUTS), tl.float32)
    squares = tl.zeros((ROWS, INPUTS), tl.float32)
    gate_rows = weight + features.to(tl.int64)[:, None] * IN_SIZE
    up_rows = gate_rows + num_outputs.to(tl.int64) * IN_SIZE
    for begin in range(0, IN_SIZE, INPUTS):
        places = begin + tl.arange(0, INPUTS)
        values, scaled = _scaled(inputs, norm_weight, tokens, num_tokens, places, IN_SIZE, True)
        squares += values * values
        mask = is_feature[:, None] & (places < IN_SIZE)[None, :]
        weights = tl.load(gate_rows + places[None, :], mask=mask, other=0.0).to(tl.float32)
        gates += weights[None, :, :] * scaled[:, None, :]
        weights = tl.load(up_rows + places[None, :], mask=mask, other=0.0).to(tl.float32)
        ups += weights[None, :, :] * scaled[:, None, :]
    inverse = (1.0 / tl.sqrt(tl.sum(squares, 1) / IN_SIZE + epsilon))[:, None]
    gate = tl.sum(gates, 2) * inverse
    up = tl.sum(ups, 2) * inverse
    if HAS_BIAS:
        gate += tl.load(bias + features, mask=is_feature, other=0.0).to(tl.float32)[None, :]
        up_bias = bias + num_outputs + features
        up += tl.load(up_bias, mask=is_feature, other=0.0).to(tl.float32)[None, :]
    outcome = gate / (1.0 + tl.exp(-gate)) * up
    mask = (tokens < num_tokens)[:, None] & is_feature[None, :]
    place = tokens[:, None] * num_outputs + features[None, :]
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
) -> torch.Tensor:
    """Multiplies few tokens by a weight: [tokens, out features], rounded once.

    Args:
        inputs: [tokens, in features], contiguous.
        weight: [out features, in features], contiguous.
        bias: [out features], if there is one.
        blocks: The block sizes.
        norm: The weight, [in features], and epsilon of a root mean square norm that the inputs go
            through first.
        residual: [tokens, out features], contiguous: added to the product.
        steering: A block's table, [lines, out features], and int64 [tokens], each token's line of
            it, which is added as well.
        out: [tokens, out features], contiguous: where the result goes, in its dtype.
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
        outputs,
        num_tokens,
        num_outputs,
        IN_SIZE=in_size,
        ROWS=next_power_of_two(num_tokens),
        OUTPUTS=blocks.num_outputs,
        INPUTS=blocks.num_inputs,
        NORMALIZES=norm is not None,
        HAS_BIAS=bias is not None,
        ADDS=residual is not None,
        STEERS=steering is not None,
        num_warps=blocks.num_warps,
    )
    return outputs


def gate_up(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    norm: tuple[torch.Tensor, float],
) -> torch.Tensor:
    """Returns silu(gate) * up of few tokens' norms, [tokens, size].

    Args:
        inputs: [tokens, in features], contiguous.
        weight: [2 * size, in features], contiguous: the gates first.
        bias: [2 * size], if there is one.
        norm: The weight, [in features], and epsilon of the root mean square norm that the inputs go
            through first.
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
        HAS_BIAS=bias is not None,
        num_warps=GATE_UP.num_warps,
    )
    return gated
