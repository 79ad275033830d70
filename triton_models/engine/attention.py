"""Attention of a packed batch over one KV cache that all running requests share.

Registered as an attention function of transformers, so that the model's own code calls it in place
of its own: it stores the new keys and values, then lets every token attend to its own sequence up
to itself. Half precision on a GPU is one call of PyTorch's variable-length attention, which reads
each sequence in place; elsewhere it is scaled-dot-product attention, once for all generating
sequences and once for each prompt's chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from triton_models.engine.kv_room import FIRST_SLOT
from triton_models.engine.packed_batch import PackedBatch, Span

ATTENTION_NAME = "persona_packed"
"""The name to load a model with: `attn_implementation=ATTENTION_NAME`."""

ATTENTION_CONTEXT = "attention_context"
"""The keyword of the model's forward that carries the `AttentionContext`."""

_WHOLE_PAST = (-1, 0)
"""The window of causal attention: all tokens before, none after."""


class KVCache:
    """Keys and values of all requests, block by block, one slot for each token.

    Args:
        num_layers: How many decoder blocks the model has.
        num_slots: How many tokens of requests it holds.
        num_heads: How many key/value heads a block has.
        head_size: The width of a head.
        dtype: The dtype of keys and values.
        device: The model's device.
    """

    def __init__(
        self,
        num_layers: int,
        num_slots: int,
        num_heads: int,
        head_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (num_layers, FIRST_SLOT + num_slots, num_heads, head_size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copies `length` slots from `source` on to those from `target` on."""
        for cache in (self.keys, self.values):
            cache[:, target : target + length] = cache[:, source : source + length]


def attends_in_place(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there is variable-length attention: FlashAttention-2, from NVIDIA's Ampere on.

    Its shapes depend on tensors only, so a CUDA graph can hold it; the other way's do not.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16)
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


@dataclass
class AttentionContext:
    """What the attention function needs besides queries, keys and values."""

    cache: KVCache
    batch: PackedBatch

    @cached_property
    def reads_in_place(self) -> bool:
        """Whether every sequence is attended to where it lies."""
        return attends_in_place(self.cache.keys.device, self.cache.keys.dtype)

    @cached_property
    def decode_reach(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The slots that each generating token attends to.

        Two tensors [decodes, longest]: int64 slots, filled up with the one of nobody; and bool,
        whether they count. What is stale is so never read: a mask would not hide keys and values
        that are not finite.
        """
        count = len(self.batch.decodes)
        firsts = self.batch.first_slots[:count, None].long()
        reaches = self.batch.reaches[:count, None]
        longest = max(span.reach for span in self.batch.decodes)
        positions = torch.arange(longest, device=firsts.device)
        counts = positions < reaches
        return torch.where(counts, firsts + positions, 0), counts


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
    """Attends each packed token to the tokens of its own sequence up to itself.

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
    keys = context.cache.keys[block]  # [slots, key/value heads, head size]
    values = context.cache.values[block]
    keys.index_copy_(0, batch.slots, key[0].transpose(0, 1))
    values.index_copy_(0, batch.slots, value[0].transpose(0, 1))
    by_token = query[0].transpose(0, 1)  # [tokens, query heads, head size]
    if context.reads_in_place:
        attended = varlen_attn(
            by_token,
            keys,
            values,
            batch.token_starts,
            batch.first_slots,
            batch.longest_slice,
            batch.longest_reach,
            scale=scaling,
            window_size=_WHOLE_PAST,
            enable_gqa=True,
            seqused_k=batch.reaches,
        )
        return cast(torch.Tensor, attended).unsqueeze(0), None

    parts = []
    if batch.decodes:
        parts.append(_decode(by_token[: len(batch.decodes)], keys, values, context, scaling))
    for span in batch.prefills:
        chunk = query[:, :, span.offset : span.offset + span.length]
        parts.append(_prefill(chunk, keys, values, span, scaling))
    return torch.cat(parts).unsqueeze(0), None


def varlen_attn(*args: Any, **kwargs: Any) -> Any:
    """Calls PyTorch's, imported where it is used: it takes the compiler along, and so a second."""
    from torch.nn.attention import varlen

    return varlen.varlen_attn(*args, **kwargs)


def _decode(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    context: AttentionContext,
    scaling: float,
) -> torch.Tensor:
    """Attends one token of each generating sequence; query is [decodes, query heads, head size]."""
    spans = context.batch.decodes
    mask = None
    if len(spans) == 1:
        keys, values = (_in_place(cache, spans[0]) for cache in (keys, values))
    else:
        slots, counts = context.decode_reach
        keys, values = (
            cache.index_select(0, slots.flatten()).unflatten(0, slots.shape).transpose(1, 2)
            for cache in (keys, values)
        )
        mask = counts[:, None, None, :]
    count, num_heads, _, head_size = keys.shape
    # The query heads that share a key/value head stand where the queries of one head do: all of
    # them attend to the same keys, so none has to be repeated.
    grouped = query.reshape(count, num_heads, -1, head_size)
    attended = scaled_dot_product_attention(grouped, keys, values, attn_mask=mask, scale=scaling)
    return attended.reshape(count, -1, head_size)


def _prefill(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, span: Span, scaling: float
) -> torch.Tensor:
    """Attends a prompt's chunk; query is [1, query heads, length, head size]."""
    mask = None
    if span.reach > span.length:
        mask = torch.ones(span.length, span.reach, dtype=torch.bool, device=query.device)
        mask = mask.tril(diagonal=span.reach - span.length)
    attended = scaled_dot_product_attention(
        query,
        _in_place(keys, span),
        _in_place(values, span),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def _in_place(cache: torch.Tensor, span: Span) -> torch.Tensor:
    """Returns a sequence's keys or values, [1, key/value heads, reach, head size], as a view."""
    return cache[span.first_slot : span.first_slot + span.reach].transpose(0, 1).unsqueeze(0)


AttentionInterface.register(ATTENTION_NAME, packed_attention)
