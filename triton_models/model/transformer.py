"""The forward pass: decoder blocks around a residual stream.

The tokens of a step are packed, [tokens, hidden size], whatever request they belong to. Attention
decides which attend to which, and forward hooks on the blocks add the steering. The query, key and
value projections are one matrix product, as are the MLP's gate and up projections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import embedding, rms_norm

from triton_models.model.architecture import Architecture
from triton_models.model.linear import GatedLinear, Linear, NumberFormat
from triton_models.model.rotary import rotation_table

Attend = Callable[[int, torch.Tensor], torch.Tensor]
"""Attention: takes a block's index and the rotated heads of all tokens, [tokens, query heads + 2 *
key/value heads, head size] (queries, keys, values); returns [tokens, query heads * head size]."""


@dataclass(slots=True)
class ForwardContext:
    """What the blocks of one forward pass share; hooks get it as a block's second argument.

    Attributes:
        steering_lines: int64 [tokens]: each token's line of the steering table.
        rules: The tokens' rules, if any have some.
        cos: Compute dtype, [tokens, heads, head size]: the factor of each head.
        sin: Of the same shape: the factor of its swapped halves.
    """

    attend: Attend
    steering_lines: torch.Tensor
    tap: Any = None
    rules: Any = None
    cos: torch.Tensor = field(init=False)
    sin: torch.Tensor = field(init=False)


class RMSNorm(nn.Module):
    """Root mean square normalization (Zhang and Sennrich 2019) over the last dimension."""

    def __init__(self, size: int, epsilon: float, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        empty = torch.empty(size, dtype=dtype, device=device)
        self.weight = nn.Parameter(empty, requires_grad=False)
        self._shape = (size,)
        self._epsilon = epsilon

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the normalized states."""
        return rms_norm(states, self._shape, self.weight, self._epsilon)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(
        self, index: int, model: Architecture, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self._index = index
        self._num_heads, self._head_size = model.num_heads, model.head_size
        self._num_rotated = model.num_heads + model.num_key_value_heads
        num_heads = model.num_heads + 2 * model.num_key_value_heads
        linear = partial(Linear, dtype=dtype, device=device)
        size, width = model.hidden_size, model.num_heads * model.head_size
        self.query_key_value = linear(size, num_heads * model.head_size, bias=model.qkv_bias)
        self.output = linear(width, size, bias=model.output_bias)
        if model.qk_norm:
            self.query_norm = RMSNorm(model.head_size, model.norm_epsilon, dtype, device)
            self.key_norm = RMSNorm(model.head_size, model.norm_epsilon, dtype, device)
        self._normalizes = model.qk_norm

    def forward(
        self, states: torch.Tensor, residual: torch.Tensor, context: ForwardContext
    ) -> torch.Tensor:
        """Returns the residual plus the attention's output; all are [tokens, hidden size]."""
        heads = self.query_key_value(states).view(len(states), -1, self._head_size)
        if self._normalizes:
            queries, keys = heads[:, : self._num_heads], heads[:, self._num_heads :]
            keys = keys[:, : self._num_rotated - self._num_heads]
            queries.copy_(self.query_norm(queries))
            keys.copy_(self.key_norm(keys))
        attended = context.attend(self._index, rotate(heads, context.cos, context.sin))
        added: torch.Tensor = self.output(attended, residual)
        return added


class MLP(nn.Module):
    """The gated feed-forward network: down(silu(gate) * up)."""

    def __init__(self, model: Architecture, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        linear = partial(Linear, bias=model.mlp_bias, dtype=dtype, device=device)
        self.gate_up = GatedLinear(linear(model.hidden_size, 2 * model.intermediate_size))
        self.down = linear(model.intermediate_size, model.hidden_size)

    def forward(self, states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Returns the residual plus the MLP's output; all are [tokens, hidden size]."""
        added: torch.Tensor = self.down(self.gate_up(states), residual)
        return added


class DecoderBlock(nn.Module):
    """A decoder block; a forward hook on it sees, and may change, the residual stream after it."""

    def __init__(
        self, index: int, model: Architecture, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(model.hidden_size, model.norm_epsilon, dtype, device)
        self.attention = Attention(index, model, dtype, device)
        self.mlp_norm = RMSNorm(model.hidden_size, model.norm_epsilon, dtype, device)
        self.mlp = MLP(model, dtype, device)

    def forward(self, states: torch.Tensor, context: ForwardContext) -> torch.Tensor:
        """Returns the residual stream after the block, [tokens, hidden size]."""
        states = self.attention(self.attention_norm(states), states, context)
        added: torch.Tensor = self.mlp(self.mlp_norm(states), states)
        return added


class Transformer(nn.Module):
    """A decoder-only language model with uninitialized parameters."""

    def __init__(
        self,
        architecture: Architecture,
        number_format: NumberFormat,
        context_length: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.device = device
        dtype = self.dtype = number_format.compute_dtype
        size, vocabulary = architecture.hidden_size, architecture.vocabulary_size
        held = torch.empty((vocabulary, size), dtype=number_format.dtype, device=device)
        self.embedding = nn.Parameter(held, requires_grad=False)
        self.blocks = nn.ModuleList(
            DecoderBlock(index, architecture, dtype, device)
            for index in range(architecture.num_layers)
        )
        self.norm = RMSNorm(size, architecture.norm_epsilon, dtype, device)
        # Its weight is set on loading, which decides whether it is tied to the embedding.
        self.head = Linear(size, 0, bias=False, dtype=dtype, device=device)
        table = rotation_table(architecture.rotary, architecture.head_size, context_length)
        self.rotations = table.to(device, dtype)
        num_turned = architecture.num_heads + architecture.num_key_value_heads
        heads = torch.arange(num_turned + architecture.num_key_value_heads, device=device)
        self._is_turned = (heads < num_turned).int()

    def forward(
        self, input_ids: torch.Tensor, positions: torch.Tensor, context: ForwardContext
    ) -> torch.Tensor:
        """Returns the residual stream after the last block, [tokens, hidden size].

        `input_ids` and `positions`, each token's in its own sequence, are int64 [tokens]. The
        rotations of the context are set here.
        """
        turns = self.rotations.index_select(1, positions)
        context.cos, context.sin = turns.index_select(2, self._is_turned).unbind()
        states = embedding(input_ids, self.embedding).to(self.dtype)
        for block in self.blocks:
            states = block(states, context)
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Returns the logits, float32 [tokens, vocabulary], of the last residual stream."""
        logits: torch.Tensor = self.head(self.norm(states))
        return logits.float()


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotates each pair of dimensions, half a head apart; all are [tokens, heads, head size]."""
    half = heads.shape[-1] // 2
    swapped = torch.cat((heads[..., half:], heads[..., :half]), dim=-1)
    return (heads * cos).addcmul_(swapped, sin)
