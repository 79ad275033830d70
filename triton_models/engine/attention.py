"""Attention of a packed batch over a KV cache with one row per running request.

Registered as an attention function of transformers, so that the model's own code calls it in place
of its own: it stores the new keys and values, then lets every token attend to its own row only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from triton_models.engine.packed_batch import PackedBatch, Prefill

ATTENTION_NAME = "persona_packed"
"""The name to load a model with: `attn_implementation=ATTENTION_NAME`."""

ATTENTION_CONTEXT = "attention_context"
"""The keyword of the model's forward that carries the `AttentionContext`."""


class KVCache:
    """Keys and values of every row, block by block.

    Args:
        num_layers: How many decoder blocks the model has.
        num_rows: How many requests can run at once.
        num_heads: How many key/value heads a block has.
        capacity: The most tokens of a row.
        head_size: The width of a head.
        dtype: The model's dtype.
        device: The model's device.
    """

    def __init__(
        self,
        num_layers: int,
        num_rows: int,
        num_heads: int,
        capacity: int,
        head_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_layers, num_rows, num_heads, capacity, head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def clear(self, row: int, length: int) -> None:
        """Zeroes a row's first positions.

        Attention reads a row past its end and masks what it finds; but what a steering too strong
        left there may not be finite, and no mask hides that: 0 times infinity is not a number.
        """
        self.keys[:, row, :, :length] = 0
        self.values[:, row, :, :length] = 0


@dataclass(frozen=True, slots=True)
class AttentionContext:
    """What the attention function needs besides queries, keys and values."""

    cache: KVCache
    batch: PackedBatch


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends each packed token to the tokens of its own row up to itself.

    Args:
        module: The attention module, whose `layer_idx` says which block of the cache is meant.
        query: [1, query heads, tokens, head size], rotated.
        key: [1, key/value heads, tokens, head size], rotated.
        value: [1, key/value heads, tokens, head size].
        attention_mask: Not used: the batch says who attends to whom.
        scaling: The factor for the products of queries and keys.
        dropout: Not used: the model only infers.
        **kwargs: Holds the `AttentionContext`.

    Returns:
        [1, tokens, query heads, head size], and no weights.
    """
    context: AttentionContext = kwargs[ATTENTION_CONTEXT]
    batch = context.batch
    block = cast(int, module.layer_idx)
    keys = context.cache.keys[block]  # [rows, key/value heads, capacity, head size]
    values = context.cache.values[block]
    keys[batch.rows, :, batch.positions] = key[0].transpose(0, 1)
    values[batch.rows, :, batch.positions] = value[0].transpose(0, 1)

    parts = []
    if batch.num_decodes:
        parts.append(_decode(query[0, :, : batch.num_decodes], keys, values, batch, scaling))
    for prefill in batch.prefills:
        span = slice(prefill.offset, prefill.offset + prefill.length)
        parts.append(_prefill(query[:, :, span], keys, values, prefill, scaling))
    return torch.cat(parts).unsqueeze(0), None


def _decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    batch: PackedBatch,
    scaling: float,
) -> torch.Tensor:
    """Attends one token of each generating row; query is [query heads, decodes, head size]."""
    count, longest = batch.num_decodes, batch.longest_decode
    if batch.decode_rows_are_first:
        keys, values = keys[:count, :, :longest], values[:count, :, :longest]
    else:
        rows = batch.rows[:count]
        keys, values = keys[rows, :, :longest], values[rows, :, :longest]
    num_heads, head_size = keys.shape[1], keys.shape[3]
    # The query heads that share a key/value head stand where the queries of one head do: all of
    # them attend to the same keys, so none has to be repeated.
    grouped = query.transpose(0, 1).reshape(count, num_heads, -1, head_size)
    reach = torch.arange(longest, device=query.device)
    mask = reach <= batch.positions[:count, None]  # [decodes, longest]
    attended = scaled_dot_product_attention(
        grouped, keys, values, attn_mask=mask[:, None, None, :], scale=scaling
    )
    return attended.reshape(count, -1, head_size)


def _prefill(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, prefill: Prefill, scaling: float
) -> torch.Tensor:
    """Attends a prompt's chunk; query is [1, query heads, length, head size]."""
    end = prefill.start + prefill.length
    mask = None
    if prefill.start:
        mask = torch.ones(prefill.length, end, dtype=torch.bool, device=query.device)
        mask = mask.tril(diagonal=prefill.start)
    attended = scaled_dot_product_attention(
        query,
        keys[prefill.row : prefill.row + 1, :, :end],
        values[prefill.row : prefill.row + 1, :, :end],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


AttentionInterface.register(ATTENTION_NAME, packed_attention)
