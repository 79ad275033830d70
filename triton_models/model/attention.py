"""Causal attention of packed tokens over one KV cache that all running requests share.

In half precision on a GPU it is PyTorch's variable-length attention, which reads each sequence in
place: one call for the generating sequences, one for the prompts. Elsewhere it is PyTorch's scaled
dot-product attention: short generating sequences are gathered into one batch, the others are read
in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from triton_models.model.architecture import Architecture
from triton_models.model.upload import upload

FIRST_SLOT = 1
"""The first slot that belongs to requests; slot 0 is reserved for padding."""

MAX_GATHERED_REACH = 512
"""The longest generating sequence that is gathered with the others: up to this length a copy takes
less time than a separate call."""

_UNBOUNDED = (-1, -1)
"""The window of full attention, for which alone FlashAttention groups queries and splits keys. For
a single token it is the same as causal attention."""

_CAUSAL = (-1, 0)


class KVCache:
    """Keys and values of all requests, one slot for each token.

    They are in one tensor, [blocks, slots, 2 * key/value heads, head size], keys before values. On
    the CPU the system provides memory only as slots are first written. On a GPU it is allocated
    whole, since CUDA graphs hold its addresses. Slots that were never written are uninitialized, so
    nothing may read them.
    """

    def __init__(
        self, model: Architecture, num_slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        heads = 2 * model.num_key_value_heads
        shape = (model.num_layers, FIRST_SLOT + num_slots, heads, model.head_size)
        self._slots = torch.empty(shape, dtype=dtype, device=device)
        self._slots[:, :FIRST_SLOT] = 0  # padding reads it
        self.blocks = self._slots.unbind()
        self.dtype = dtype
        self.attends_in_place = attends_in_place(device, dtype, model.head_size)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copies `length` slots, starting at `source`, to those starting at `target`."""
        self._slots[:, target : target + length] = self._slots[:, source : source + length]


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive tokens of one sequence: their place in the packed tokens and in the KV cache.

    Attributes:
        offset: The index of the first token in the packed tokens.
        length: The number of tokens.
        first_slot: The cache slot of the sequence's first token.
        reach: How many tokens the last token attends to: its sequence up to and with itself.
    """

    offset: int
    length: int
    first_slot: int
    reach: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a step's tokens: one of each generating sequence, then the prompts' chunks.

    Attributes:
        slots: int64 [tokens]: the cache slot of each token's keys and values.
        positions: int64 [tokens]: each token's position in its own sequence.
        num_generating: The number of generating sequences.
        max_reach: An upper bound of the tokens that a generating one attends to.
        prompts: The prompts' chunks; empty if `prompt_group` is given.
        prompt_group: The prompts' chunks on the device, for variable-length attention in a CUDA
            graph.
    """

    slots: torch.Tensor
    positions: torch.Tensor
    num_generating: int = 0
    max_reach: int = 0
    prompts: Sequence[Span] = ()
    prompt_group: SpanGroup | None = None

    @property
    def has_prompts(self) -> bool:
        """Whether the step has tokens of prompts."""
        return self.num_generating < len(self.slots)


@dataclass(frozen=True, slots=True)
class SpanGroup:
    """The sequences of one call of variable-length attention.

    Attributes:
        starts: int32 [sequences + 1]: the index of each one's first token within the group.
        first_slots: int32 [sequences + 1]: the cache slot of each one's first token, and an unused
            element.
        reaches: int32 [sequences]: how many tokens each one's last token attends to.
        max_length: The maximum number of tokens of one in this step.
        max_reach: An upper bound of `reaches`.
    """

    starts: torch.Tensor
    first_slots: torch.Tensor
    reaches: torch.Tensor
    max_length: int
    max_reach: int


def attends_in_place(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether variable-length attention is available: FlashAttention-2, from NVIDIA's Ampere on.

    Unlike the other implementation it depends on tensors only, so a CUDA graph can hold it.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16)
        and head_size % 8 == 0
        and head_size <= 256
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


class PackedAttention:
    """The attention of one step, for `ForwardContext.attend`."""

    def __init__(self, cache: KVCache, layout: Layout, model: Architecture) -> None:
        self._cache = cache
        self._layout = layout
        self._num_heads = model.num_heads
        self._num_shared = model.num_key_value_heads

    def __call__(self, block: int, heads: torch.Tensor) -> torch.Tensor:
        """See `transformer.Attend`."""
        cache = self._cache.blocks[block]
        queries = heads[:, : self._num_heads]
        cache.index_copy_(0, self._layout.slots, heads[:, self._num_heads :])
        count = self._layout.num_generating
        if not self._layout.has_prompts:
            return self._generating(queries, cache)
        if not count:
            return self.prompts(block, queries)
        return torch.cat(
            (self._generating(queries[:count], cache), self.prompts(block, queries[count:]))
        )

    def prompts(self, block: int, queries: torch.Tensor) -> torch.Tensor:
        """Computes the attention of the prompts' chunks, whose keys and values are in the cache.

        The rotated queries are [tokens, query heads, head size]; returns [tokens, query heads *
        head size].
        """
        cache = self._cache.blocks[block]
        if self._cache.attends_in_place:
            group = self._layout.prompt_group or self._prompt_group
            return self._variable_length(queries, cache, group, _CAUSAL)
        spans = self._layout.prompts
        chunks = queries.split([span.length for span in spans])
        attended = []
        for chunk, span, mask in zip(chunks, spans, self._masks, strict=True):
            keys, values = self._in_place(cache, span).split(self._num_shared, dim=1)
            attended.append(_causal(chunk.transpose(0, 1).unsqueeze(0), keys, values, mask))
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _generating(self, queries: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        """Returns the attention of the generating tokens, [tokens, query heads * head size]."""
        if self._cache.attends_in_place:
            return self._variable_length(queries, cache, self._generating_group, _UNBOUNDED)
        long, short = self._long, self._short
        if short is not None and short.places is None:
            return self._gathered(queries, cache, short)
        attended = torch.empty_like(queries).flatten(1)
        for span in long:
            one = queries[span.offset : span.offset + 1].unflatten(1, (self._num_shared, -1))
            attended[span.offset] = self._grouped(one, self._in_place(cache, span))[0]
        if short is not None and short.places is not None:
            attended[short.places] = self._gathered(queries[short.places], cache, short)
        return attended

    def _variable_length(
        self, queries: torch.Tensor, cache: torch.Tensor, group: SpanGroup, window: tuple[int, int]
    ) -> torch.Tensor:
        keys, values = cache.split(self._num_shared, dim=1)
        attended: torch.Tensor = varlen_attn(
            queries,
            keys,
            values,
            group.starts,
            group.first_slots,
            group.max_length,
            group.max_reach,
            window_size=window,
            enable_gqa=True,
            seqused_k=group.reaches,
        )
        return attended.flatten(1)

    def _gathered(self, queries: torch.Tensor, cache: torch.Tensor, short: _Short) -> torch.Tensor:
        """Computes the attention of short sequences, with their keys and values gathered."""
        copied = cache.index_select(0, short.slots).unflatten(0, (len(queries), -1))
        grouped = queries.unflatten(1, (self._num_shared, -1))
        return self._grouped(grouped, copied.transpose(1, 2), short.mask)

    def _grouped(
        self, queries: torch.Tensor, cached: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Computes the attention of single tokens to their sequences.

        The query heads that share a key/value head take the place of several queries of one head,
        so that keys and values need not be repeated.

        Args:
            queries: [sequences, key/value heads, query heads of each, head size].
            cached: [sequences, 2 * key/value heads, reach, head size].
            mask: Added to the scores, [sequences, 1, 1, reach].
        """
        keys, values = cached.split(self._num_shared, dim=1)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return attended.reshape(len(queries), -1)

    @staticmethod
    def _in_place(cache: torch.Tensor, span: Span) -> torch.Tensor:
        """Returns a view of a sequence's cache, [1, 2 * key/value heads, reach, head size]."""
        return cache[span.first_slot : span.first_slot + span.reach].transpose(0, 1).unsqueeze(0)

    @cached_property
    def _generating_group(self) -> SpanGroup:
        layout, count = self._layout, self._layout.num_generating
        slots, positions = layout.slots[:count], layout.positions[:count]
        return SpanGroup(
            torch.arange(count + 1, dtype=torch.int32, device=slots.device),
            pad((slots - positions).int(), (0, 1)),
            (positions + 1).int(),
            1,
            layout.max_reach,
        )

    @cached_property
    def _prompt_group(self) -> SpanGroup:
        spans, device = self._layout.prompts, self._layout.slots.device

        def int32(values: Sequence[int]) -> torch.Tensor:
            return upload(values, device, torch.int32)

        first, last = spans[0], spans[-1]
        end = last.offset + last.length
        return SpanGroup(
            int32([*(span.offset - first.offset for span in spans), end - first.offset]),
            int32([*(span.first_slot for span in spans), 0]),
            int32([span.reach for span in spans]),
            max(span.length for span in spans),
            max(span.reach for span in spans),
        )

    @cached_property
    def _masks(self) -> list[torch.Tensor | None]:
        """The mask of each prompt's chunk, [length, reach], the same at every block.

        `None` for the first chunk of a prompt, for which plain causal attention suffices.
        """
        device = self._layout.slots.device

        def mask_of(span: Span) -> torch.Tensor | None:
            earlier = span.reach - span.length
            if not earlier:
                return None
            mask = torch.ones(span.length, span.reach, dtype=torch.bool, device=device)
            return mask.tril(diagonal=earlier)

        return [mask_of(span) for span in self._layout.prompts]

    @cached_property
    def _long(self) -> list[Span]:
        """The generating sequences that are read in place; a single one always is."""
        layout, count = self._layout, self._layout.num_generating
        max_gathered = MAX_GATHERED_REACH if count > 1 else 0
        if layout.max_reach <= max_gathered:
            return []
        places = zip(layout.slots[:count].tolist(), layout.positions[:count].tolist(), strict=True)
        return [
            Span(index, 1, slot - position, position + 1)
            for index, (slot, position) in enumerate(places)
            if position >= max_gathered
        ]

    @cached_property
    def _short(self) -> _Short | None:
        """The gathered generating sequences, if there are any."""
        layout, count = self._layout, self._layout.num_generating
        if count == len(self._long):
            return None
        slots, positions = layout.slots[:count, None], layout.positions[:count, None]
        places = None
        if self._long:
            long = {span.offset for span in self._long}
            places = torch.tensor([index for index in range(count) if index not in long])
            slots, positions = slots[places], positions[places]
        longest = int(positions.max()) + 1
        reached = torch.arange(longest, device=slots.device)
        counts = reached <= positions
        # Stale slots are never read, since a mask does not hide values that are not finite.
        copied = torch.where(counts, slots - positions + reached, 0).flatten()
        mask = None
        if int(positions.min()) + 1 < longest:
            mask = torch.zeros(counts.shape, dtype=self._cache.dtype, device=counts.device)
            mask = mask.masked_fill_(~counts, float("-inf"))[:, None, None]
        return _Short(places, copied, mask)


@dataclass(frozen=True, slots=True)
class _Short:
    """Generating sequences whose keys and values are gathered into one batch.

    Attributes:
        places: int64 [sequences]: their indices among the generating sequences; `None` for all.
        slots: int64 [sequences * longest reach]: the slots to gather, padded with slot 0.
        mask: [sequences, 1, 1, longest reach]: minus infinity at padding; `None` without padding.
    """

    places: torch.Tensor | None
    slots: torch.Tensor
    mask: torch.Tensor | None


class WholeSequences:
    """Causal attention of whole packed sequences of given lengths, without a KV cache."""

    def __init__(self, lengths: Sequence[int], model: Architecture) -> None:
        self._lengths = list(lengths)
        self._sizes = [model.num_heads, model.num_key_value_heads, model.num_key_value_heads]

    def __call__(self, block: int, heads: torch.Tensor) -> torch.Tensor:
        """See `transformer.Attend`."""
        attended = []
        for sequence in heads.split(self._lengths):
            parts = sequence.transpose(0, 1).unsqueeze(0).split(self._sizes, dim=1)
            attended.append(_causal(*parts))
        return torch.cat(attended)


def _causal(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns causal attention, [length, heads * head size], of [1, heads, length, head size]."""
    attended = scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return attended[0].transpose(0, 1).flatten(1)


def varlen_attn(*args: Any, **kwargs: Any) -> Any:
    """Calls PyTorch's; imported here, because it imports the compiler, which takes a second."""
    from torch.nn.attention import varlen

    return varlen.varlen_attn(*args, **kwargs)
