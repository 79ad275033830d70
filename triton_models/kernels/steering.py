"""Steering of tokens inside the kernel that has them: additions, conditions and operations.

The arithmetic is that of `steering/token_rules.py`. A token whose row has no rules is only added
to: it loads that it has no condition and no operations, and is done.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from triton_models.contract.steering import OPERATION_PLACES

_BLOCK = 128
_PLACES = tl.constexpr(OPERATION_PLACES)


@dataclass(frozen=True, slots=True)
class BlockSteering:
    """How the tokens of a step are steered at a block.

    Attributes:
        block: The decoder block.
        deltas: [lines, size]: its table of what is added.
        counts: int32 [rows + 1]: see `RuleTable`, as for the next five; those of this block.
        directions: [rows + 1, operations, size].
        bounds: float32 [rows + 1, operations, 4].
        gate_blocks: int32 [rows + 1].
        gate_directions: [rows + 1, size].
        thresholds: float32 [rows + 1].
        lines: int64 [tokens]: each token's line of the deltas.
        factors: float32 [tokens]: how much of the steering a token gets; a condition that it does
            not meet sets it to 0.
        gates: float32 [at least `num_gates`]: where to write whether the first tokens have met
            their conditions.
    """

    block: int
    deltas: torch.Tensor
    counts: torch.Tensor
    directions: torch.Tensor
    bounds: torch.Tensor
    gate_blocks: torch.Tensor
    gate_directions: torch.Tensor
    thresholds: torch.Tensor
    lines: torch.Tensor
    factors: torch.Tensor
    gates: torch.Tensor
    num_gates: int


@triton.jit
def steer(
    values: tl.tensor,
    token: tl.tensor,
    dims: tl.tensor,
    is_dim: tl.tensor,
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
    SIZE: tl.constexpr,
) -> tl.tensor:
    """Returns a token's state, float32 [size], steered."""
    line = tl.load(lines + token)
    row = (line + 1) // 2
    # All loads come before the branch, so that they wait for each other's end only once.
    delta = tl.load(deltas + line * SIZE + dims, mask=is_dim, other=0.0).to(tl.float32)
    factor = tl.load(factors + token)
    count = tl.load(counts + row)
    if tl.load(gate_blocks + row) == block:
        direction = tl.load(gate_directions + row * SIZE + dims, mask=is_dim, other=0.0)
        direction = direction.to(tl.float32)
        is_met = tl.sum(values * direction, 0) > tl.load(thresholds + row)
        gate = is_met.to(tl.float32)
        factor *= gate
        tl.store(factors + token, factor)
        tl.store(gates + token, gate, mask=token < num_gates)
    values += factor * delta
    for index in range(count):
        place = row * _PLACES + index
        direction = tl.load(directions + place * SIZE + dims, mask=is_dim, other=0.0)
        direction = direction.to(tl.float32)
        low = tl.load(bounds + 4 * place)
        high = tl.load(bounds + 4 * place + 1)
        strength = tl.load(bounds + 4 * place + 2)
        share = tl.maximum(factor, tl.load(bounds + 4 * place + 3))
        projection = tl.sum(values * direction, 0)
        change = tl.minimum(tl.maximum(projection, low), high) - projection
        values += share * strength * change * direction
    return values


@triton.jit(do_not_specialize_on_alignment=["lines", "positions"])
def _window_factors(
    windows: tl.tensor,
    lines: tl.tensor,
    positions: tl.tensor,
    factors: tl.tensor,
    num_tokens: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Processes a block of tokens."""
    tokens = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_token = tokens < num_tokens
    row = (tl.load(lines + tokens, mask=is_token, other=0) + 1) // 2
    position = tl.load(positions + tokens, mask=is_token, other=0).to(tl.float32)
    window = windows + 4 * row
    left = tl.load(window + 2, mask=is_token, other=0.0) - position
    steps = tl.load(window + 3, mask=is_token, other=1.0)
    factor = tl.minimum(tl.maximum(left / steps, 0.0), 1.0)
    factor = tl.where(position < tl.load(window + 1, mask=is_token, other=0.0), 0.0, factor)
    factor = tl.where(position < tl.load(window, mask=is_token, other=0.0), 1.0, factor)
    tl.store(factors + tokens, factor, mask=is_token)


def window_factors(
    windows: torch.Tensor, lines: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """Returns how much of the steering each token gets, float32 [tokens], before any condition.

    Args:
        windows: float32 [rows + 1, 4]: see `RuleTable`.
        lines: int64 [tokens]: each token's line of the steering table.
        positions: int64 [tokens]: its place in its own sequence.
    """
    num_tokens = len(lines)
    factors = torch.empty(num_tokens, dtype=torch.float32, device=lines.device)
    grid = (triton.cdiv(num_tokens, _BLOCK),)
    _window_factors[grid](windows, lines, positions, factors, num_tokens, BLOCK=_BLOCK, num_warps=4)
    return factors
