"""The elementwise operations between matrix products, each fused into one pass over memory."""

from __future__ import annotations

from dataclasses import fields

import torch
import triton
import triton.language as tl

from triton_models.kernels.block_sizes import next_power_of_two
from triton_models.kernels.steering import BlockSteering, steer

_GATED_BLOCK = 1024


@triton.jit(
    do_not_specialize=["block", "num_gates"],
    do_not_specialize_on_alignment=["lines", "counts"],
)
def _add_and_normalize(
    states: tl.tensor,
    added: tl.tensor,
    block: tl.tensor,
    deltas: tl.tensor,
    counts: tl.tensor,
    directions: tl.tensor,
    bounds: tl.tensor,
    gate_blocks: tl.tensor,
    gate_directions: tl.tensor,
    thresholds: tl.tensor,
    lines: tl.tensor,
    factors: tl.tensor,
    gates: tl.tensor,
    num_gates: tl.tensor,
    weight: tl.tensor,
    epsilon: tl.tensor,
    unsteered: tl.tensor,
    new_states: tl.tensor,
    normalized: tl.tensor,
    SIZE: tl.constexpr,
    PADDED_SIZE: tl.constexpr,
    ADDS: tl.constexpr,
    STEERS: tl.constexpr,
    KEEPS_UNSTEERED: tl.constexpr,
) -> None:
    """Processes one token."""
    token = tl.program_id(0).to(tl.int64)
    dims = tl.arange(0, PADDED_SIZE)
    is_dim = dims < SIZE
    place = token * SIZE + dims
    values = tl.load(states + place, mask=is_dim, other=0.0).to(tl.float32)
    if ADDS:
        values += tl.load(added + place, mask=is_dim, other=0.0).to(tl.float32)
        if KEEPS_UNSTEERED:
            rounded = values.to(unsteered.dtype.element_ty)
            tl.store(unsteered + place, rounded, mask=is_dim)
        if STEERS:
            values = steer(
                values,
                token,
                dims,
                is_dim,
                block,
                deltas,
                counts,
                directions,
                bounds,
                gate_blocks,
                gate_directions,
                thresholds,
                lines,
                factors,
                gates,
                num_gates,
                SIZE,
            )
        rounded = values.to(new_states.dtype.element_ty)
        tl.store(new_states + place, rounded, mask=is_dim)
        values = rounded.to(tl.float32)
    inverse = 1.0 / tl.sqrt(tl.sum(values * values, 0) / SIZE + epsilon)
    outcome = values * inverse * tl.load(weight + dims, mask=is_dim, other=0.0).to(tl.float32)
    tl.store(normalized + place, outcome.to(normalized.dtype.element_ty), mask=is_dim)


@triton.jit
def silu_gate(gate: tl.tensor, up: tl.tensor) -> tl.tensor:
    """Returns silu(gate) * up."""
    return gate / (1.0 + tl.exp(-gate)) * up


@triton.jit
def _gate(gate_up: tl.tensor, gated: tl.tensor, SIZE: tl.constexpr, BLOCK: tl.constexpr) -> None:
    """Processes a block of one token."""
    token = tl.program_id(0).to(tl.int64)
    dims = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_dim = dims < SIZE
    place = gate_up + token * 2 * SIZE + dims
    gate = tl.load(place, mask=is_dim, other=0.0).to(tl.float32)
    up = tl.load(place + SIZE, mask=is_dim, other=0.0).to(tl.float32)
    outcome = silu_gate(gate, up)
    tl.store(gated + token * SIZE + dims, outcome.to(gated.dtype.element_ty), mask=is_dim)


def normalize(states: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Returns the RMSNorm of each token, contiguous [tokens, size], computed in float32."""
    return add_and_normalize(states, None, weight, epsilon)[1]


def add_and_normalize(
    states: torch.Tensor,
    added: torch.Tensor | None,
    weight: torch.Tensor,
    epsilon: float,
    steering: BlockSteering | None = None,
    out: torch.Tensor | None = None,
    unsteered: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adds to the residual stream, rounding once, and normalizes it.

    Args:
        states: [tokens, size], contiguous: the residual stream.
        added: Of the same shape; `None` only normalizes.
        weight: [size]: the norm's.
        epsilon: The norm's.
        steering: How the sum is steered, before it is rounded.
        out: Of the states' shape: where to write the new residual stream.
        unsteered: Likewise, what it would be without steering.

    Returns:
        The new residual stream, and its norm.
    """
    num_tokens, size = states.shape
    normalized = torch.empty_like(states)
    if out is None:
        out = states if added is None else torch.empty_like(states)
    _add_and_normalize[(num_tokens,)](
        states,
        states if added is None else added,
        *(_arguments(steering) if steering else _unread(states)),
        weight,
        epsilon,
        out if unsteered is None else unsteered,
        out,
        normalized,
        SIZE=size,
        PADDED_SIZE=next_power_of_two(size),
        ADDS=added is not None,
        STEERS=steering is not None,
        KEEPS_UNSTEERED=unsteered is not None,
        num_warps=4 if size <= 4096 else 8,
    )
    return out, normalized


def _arguments(steering: BlockSteering) -> tuple[object, ...]:
    return tuple(getattr(steering, field.name) for field in fields(steering))


def _unread(states: torch.Tensor) -> tuple[object, ...]:
    """Returns arguments in the place of a steering's."""
    return (0, *(states,) * (len(fields(BlockSteering)) - 2), 0)


def gate(gate_up: torch.Tensor) -> torch.Tensor:
    """Returns silu(gate) * up, [tokens, size], of [tokens, 2 * size], contiguous, gates first."""
    num_tokens, size = gate_up.shape[0], gate_up.shape[1] // 2
    gated = gate_up.new_empty((num_tokens, size))
    grid = (num_tokens, triton.cdiv(size, _GATED_BLOCK))
    _gate[grid](gate_up, gated, SIZE=size, BLOCK=_GATED_BLOCK, num_warps=4)
    return gated
