"""Attention of packed tokens over one KV cache that all running requests share.

It stores the new keys and values, then lets every token attend to its own sequence up to itself.
Half precision on a GPU is PyTorch's variable-length attention, which reads each sequence in place:
one call for the generating sequences, one for the prompts. Elsewhere it is scaled-dot-product
attention: short generating sequences are gathered and attended to together, long ones and prompts
where they lie.
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
"""The first slot that belongs to requests; slot 0 is what padding points at."""

MAX_GATHERED_REACH = 512
"""The longest generating sequence whose keys and values are copied beside the others': up to there
a copy takes less time than a call of its own."""

_UNBOUNDED = (-1, -1)
"""The window of full attention: every token before and after. FlashAttention takes its path for
grouped queries and split keys for it alone; for a single token it is the same as causal attention.
"""

_CAUSAL = (-1, 0)


class KVCache:
    """Keys and values of all requests, block by block, one slot for each token.

    A token's keys and values lie side by side: [blocks, slots, 2 * key/value heads, head size].

    On the CPU the memory is taken slot by slot, as slots are first written: what an allocation
    does not touch, the system does not give. On a GPU it is taken whole, since CUDA graphs hold its
    addresses. Slots that were never written hold anything, so nothing may read them.

    Args:
        model: Whose keys and values.
        num_slots: How many tokens of requests it holds.
        dtype: Their dtype.
        device: The model's device.
    """

    def __init__(
        self, model: Architecture, num_slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        heads = 2 * model.num_key_value_heads
        shape = (model.num_layers, FIRST_SLOT + num_slots, heads, model.head_size)
        self._slots = torch.empty(shape, dtype=dtype, device=device)
        self._slots[:, :FIRST_SLOT] = 0  # dummy tokens read it
        self.blocks = self._slots.unbind()
        self.dtype = dtype
        self.attends_in_place = attends_in_place(device, dtype, model.head_size)

    def copy(self, source: int, target: int, length: int) -> None:
        """Copies `length` slots from `source` on to those from `target` on."""
        self._slots[:, target : target + length] = self._slots[:, source : source + length]


@dataclass(frozen=True, slots=True)
class Span:
    """A run of one sequence's tokens: its place in the packed tokens and in the KV cache.

    Attributes:
        offset: Where its first token stands in the packed tokens.
        length: How many tokens it has.
        first_slot: The cache slot of its sequence's first token.
        reach: How many tokens its last token attends to: all of its sequence up to itself.
    """

    offset: int
    length: int
    first_slot: int
    reach: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a step lie: one of each generating sequence, then the prompts' chunks.

    Attributes:
        slots: int64 [tokens]: where in the cache each token's keys and values go.
        positions: int64 [tokens]: each token's position in its own sequence.
        num_generating: How many tokens of generating sequences there are.
        max_reach: The most tokens that a generating one attends to, or more.
        prompts: The prompts' chunks; nothing where `prompt_group` says it all.
        prompt_group: The same for variable-length attention, where it is on the device already: a
            CUDA graph reads it there.
    """

    slots: torch.Tensor
    positions: torch.Tensor
    num_generating: int = 0
    max_reach: int = 0
    prompts: Sequence[Span] = ()
    prompt_group: SpanGroup | None = None

    @property
    def has_prompts(self) -> bool:
        """Whether there are tokens of prompts."""
        return self.num_generating < len(self.slots)


@dataclass(frozen=True, slots=True)
class SpanGroup:
    """Sequences that are attended to in one way, as variable-length attention wants them.

    Attributes:
        starts: int32 [sequences + 1]: where each one's tokens begin among the group's.
        first_slots: int32 [sequences + 1]: the cache slot of each one's first token, and one that
            is not used.
        reaches: int32 [sequences]: how many tokens each one's last token attends to.
        longest: The most tokens of one in this step.
        max_reach: The most tokens that one attends to, or more.
    """

    starts: torch.Tensor
    first_slots: torch.Tensor
    reaches: torch.Tensor
    longest: int
    max_reach: int


def attends_in_place(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether there is variable-length attention: FlashAttention-2, from NVIDIA's Ampere on.

    Its shapes depend on tensors only, so a CUDA graph can hold it; the other way's do not.
    """
    return (
        device.type == "cuda"
        and dtype in (torch.float16, torch.bfloat16)
        and head_size % 8 == 0
        and head_size <= 256
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


class PackedAttention:
    """Attention of one step, for `ForwardContext.attend`.

    Args:
        cache: The KV cache.
        layout: Where the step's tokens lie.
        model: The model.
    """

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
        """Attends the prompts' chunks, whose keys and values are in the cache.

        Args:
            block: The block's index.
            queries: [tokens, query heads, head size], rotated.

        Returns:
            [tokens, query heads * head size].
        """
        cache = self._cache.blocks[block]
        if self._cache.attends_in_place:
            group = self._layout.prompt_group or self._prompt_group
            return self._variable_length(queries, cache, group, _CAUSAL)
        spans = self._layout.prompts
        chunks = queries.split([span.length for span in spans])
        attended = [
            self._chunk(chunk, self._lying(cache, span), mask)
            for chunk, span, mask in zip(chunks, spans, self._masks, strict=True)
        ]
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _generating(self, queries: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
        """Attends a token of each generating sequence: [sequences, query heads * head size]."""
        if self._cache.attends_in_place:
            return self._variable_length(queries, cache, self._generating_group, _UNBOUNDED)
        long, short = self._long, self._short
        if short is not None and short.places is None:
            return self._gathered(queries, cache, short)
        attended = torch.empty_like(queries).flatten(1)
        for span in long:
            one = queries[span.offset : span.offset + 1].unflatten(1, (self._num_shared, -1))
            attended[span.offset] = self._grouped(one, self._lying(cache, span))[0]
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
            group.longest,
            group.max_reach,
            window_size=window,
            enable_gqa=True,
            seqused_k=group.reaches,
        )
        return attended.flatten(1)

    def _gathered(self, queries: torch.Tensor, cache: torch.Tensor, short: _Short) -> torch.Tensor:
        """Attends short sequences, their keys and values copied side by side."""
        copied = cache.index_select(0, short.slots).unflatten(0, (len(queries), -1))
        grouped = queries.unflatten(1, (self._num_shared, -1))
        return self._grouped(grouped, copied.transpose(1, 2), short.mask)

    def _grouped(
        self, queries: torch.Tensor, lying: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Attends single tokens to all of their sequences.

        The query heads that share a key/value head stand where the queries of one head do: all of
        them attend to the same keys, so none has to be repeated.

        Args:
            queries: [sequences, key/value heads, query heads of each, head size].
            lying: [sequences, 2 * key/value heads, reach, head size].
            mask: What is added to the products, [sequences, 1, 1, reach].
        """
        keys, values = lying.split(self._num_shared, dim=1)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return attended.reshape(len(queries), -1)

    def _chunk(
        self, queries: torch.Tensor, lying: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Attends a prompt's chunk, [length, query heads, head size], to what lies before it."""
        keys, values = lying.split(self._num_shared, dim=1)
        attended = scaled_dot_product_attention(
            queries.transpose(0, 1).unsqueeze(0),
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=True,
        )
        return attended[0].transpose(0, 1).flatten(1)

    @staticmethod
    def _lying(cache: torch.Tensor, span: Span) -> torch.Tensor:
        """Returns a sequence where it lies: [1, 2 * key/value heads, reach, head size], a view."""
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
        """What each prompt's chunk attends to, [length, reach], the same at every block.

        `None` for one that is its sequence's beginning, where causal attention says it all.
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
        """The generating sequences that are read where they lie; one alone always is."""
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
        """The others, if there are any."""
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
        # What is stale is never read: a mask would not hide keys and values that are not finite.
        copied = torch.where(counts, slots - positions + reached, 0).flatten()
        mask = None
        if int(positions.min()) + 1 < longest:
            mask = torch.zeros(counts.shape, dtype=self._cache.dtype, device=counts.device)
            mask = mask.masked_fill_(~counts, float("-inf"))[:, None, None]
        return _Short(places, copied, mask)


@dataclass(frozen=True, slots=True)
class _Short:
    """Generating sequences whose keys and values are copied to be attended to together.

    Attributes:
        places: int64 [sequences]: which of the generating sequences they are; `None` is all.
        slots: int64 [sequences * longest reach]: what is copied for each, filled up with slot 0.
        mask: [sequences, 1, 1, longest reach]: minus infinity where slots are filling, or `None`.
    """

    places: torch.Tensor | None
    slots: torch.Tensor
    mask: torch.Tensor | None


class WholeSequences:
    """Causal attention of whole sequences side by side, without a KV cache.

    Args:
        lengths: How many tokens each has.
        model: The model.
    """

    def __init__(self, lengths: Sequence[int], model: Architecture) -> None:
        self._lengths = list(lengths)
        self._sizes = [model.num_heads, model.num_key_value_heads, model.num_key_value_heads]

    def __call__(self, block: int, heads: torch.Tensor) -> torch.Tensor:
        """See `transformer.Attend`."""
        attended = []
        for sequence in heads.split(self._lengths):
            queries, keys, values = sequence.transpose(0, 1).unsqueeze(0).split(self._sizes, dim=1)
            states = scaled_dot_product_attention(
                queries, keys, values, is_causal=True, enable_gqa=True
            )
            attended.append(states[0].transpose(0, 1).flatten(1))
        return torch.cat(attended)


def varlen_attn(*args: Any, **kwargs: Any) -> Any:
    """Calls PyTorch's, imported where it is used: it takes the compiler along, and so a second."""
    from torch.nn.attention import varlen

    return varlen.varlen_attn(*args, **kwargs)
