"""Allocation of the KV cache, and reuse of prefixes that are in it.

The cache is an array of token slots. A request gets a contiguous extent for the maximum length of
its prompt and answer, so that a running request never runs out of room and is never preempted, and
attention can read it in place. Slot 0 is reserved for padding.

An extent is retained after its request has ended, until its slots are needed. A later prompt with
the same prefix, computed under the same steering, copies the keys and values instead of computing
them again. Keys and values depend on all tokens before them and on the steering of those tokens, so
both are compared, token by token.

Memory grows with use: extents lie in the open part of the cache, which grows only when running
requests need more slots. Retained extents never make it grow.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

from triton_models.model.attention import FIRST_SLOT

MIN_SHARED_TOKENS = 16
"""The shortest prefix worth copying, or worth waiting for while another request computes it."""

MAX_RETAINED = 256
"""The maximum number of retained extents, which bounds the search through them."""


@dataclass(frozen=True, slots=True)
class Content:
    """What determines a request's keys and values.

    Attributes:
        token_ids: The prompt, and the generated tokens as they arrive.
        prompt_key: Identifies the steering of the prompt's tokens; `""` for none.
        response_key: Identifies the steering of the generated tokens; `""` for none.
    """

    token_ids: SequenceOf[int]
    num_prompt_tokens: int
    prompt_key: str
    response_key: str

    def shared_with(self, other: Content) -> int:
        """Returns the length of the prefix whose keys and values `other`'s prompt can reuse.

        It leaves at least one token of `other`'s prompt, whose logits are needed.
        """
        if self.prompt_key != other.prompt_key:
            return 0
        limit = min(len(self.token_ids), other.num_prompt_tokens - 1)
        if self.response_key != other.prompt_key:
            limit = min(limit, self.num_prompt_tokens)
        return _common_length(self.token_ids, other.token_ids, limit)


@dataclass(eq=False, slots=True)
class Extent:
    """A contiguous run of token slots.

    Attributes:
        content: What they hold.
        num_computed: How many tokens have their keys and values stored.
    """

    start: int
    length: int
    content: Content
    num_computed: int = 0

    @property
    def end(self) -> int:
        """The slot after the last one."""
        return self.start + self.length


@dataclass(slots=True)
class KVRoom:
    """Allocates extents of the KV cache.

    Attributes:
        num_slots: The number of token slots for requests.
        reuse: Whether the extents of ended requests are retained for later prompts.
        growth: How many slots are opened at a time; 0 opens all at once.
    """

    num_slots: int
    reuse: bool = True
    growth: int = 0
    _num_open: int = field(init=False)
    _extents: list[Extent] = field(default_factory=list)
    """Extents in use and retained ones, sorted by start."""
    _in_use: list[Extent] = field(default_factory=list)
    """Extents of requests that have not ended, sorted by start."""
    _retained: dict[Extent, None] = field(default_factory=dict)
    """Extents of ended requests, the least recently used first."""

    def __post_init__(self) -> None:
        self._num_open = min(self.growth, self.num_slots) or self.num_slots

    @property
    def used_slots(self) -> int:
        """How many slots belong to requests that have not ended."""
        # Copied first, here and below: other threads read while the engine's thread changes them.
        return sum(extent.length for extent in list(self._in_use))

    @property
    def retained_slots(self) -> int:
        """How many slots are retained for reuse; requests that need room evict them."""
        return sum(extent.length for extent in list(self._retained))

    def fits(self, length: int) -> bool:
        """Whether running requests leave room for an extent of `length` slots."""
        return self._find_gap(length, self._in_use, self.num_slots) is not None

    def reserve(self, length: int, content: Content) -> Extent | None:
        """Allocates an extent of at most `num_slots` slots; `None` if there is no room for it.

        The least recently used retained ones are evicted if necessary.
        """
        while (start := self._find_gap(length, self._extents, self._num_open)) is None:
            if not self.fits(length):
                return None
            if self._retained:
                self._evict(next(iter(self._retained)))
            else:
                self._num_open = min(self._num_open + self.growth, self.num_slots)
        extent = Extent(start, length, content)
        for extents in (self._extents, self._in_use):
            insort(extents, extent, key=lambda each: each.start)
        return extent

    def release(self, extent: Extent, *, keep: bool) -> None:
        """Frees an ended request's extent, or retains it if its content is to be kept."""
        self._in_use.remove(extent)
        if not (keep and self.reuse and extent.num_computed >= MIN_SHARED_TOKENS):
            self._extents.remove(extent)
            return
        # Slots that the answer did not use are free at once.
        extent.length = extent.num_computed
        self._retained[extent] = None
        if len(self._retained) > MAX_RETAINED:
            self._evict(next(iter(self._retained)))

    def find_computed(self, content: Content) -> tuple[Extent, int] | None:
        """Returns the extent with the longest computed prefix of a prompt, and its length."""
        best: tuple[Extent, int] | None = None
        beginning = content.token_ids[:MIN_SHARED_TOKENS]
        for extent in self._extents if self.reuse else ():
            if extent.content.token_ids[:MIN_SHARED_TOKENS] != beginning:
                continue  # of hundreds, most: looking closer takes ten times as long
            shared = min(extent.content.shared_with(content), extent.num_computed)
            if shared >= MIN_SHARED_TOKENS and (best is None or shared > best[1]):
                best = (extent, shared)
        if best and best[0] in self._retained:
            self._retained[best[0]] = self._retained.pop(best[0])
        return best

    def _evict(self, extent: Extent) -> None:
        del self._retained[extent]
        self._extents.remove(extent)

    def _find_gap(self, length: int, extents: SequenceOf[Extent], num_slots: int) -> int | None:
        """Returns the start of the smallest sufficient gap in the first `num_slots` slots."""
        best: tuple[int, int] | None = None
        position = FIRST_SLOT
        for extent in extents:
            gap = extent.start - position
            if gap >= length and (best is None or gap < best[0]):
                best = (gap, position)
            position = extent.start + extent.length  # the property `end` is slow in this loop
        gap = FIRST_SLOT + num_slots - position
        if gap >= length and (best is None or gap < best[0]):
            best = (gap, position)
        return None if best is None else best[1]


def _common_length(first: SequenceOf[int], second: SequenceOf[int], limit: int) -> int:
    """Returns the length of the common prefix, at most `limit`; compares in growing strides."""
    equal, stride = 0, MIN_SHARED_TOKENS
    while equal < limit:
        end = min(equal + stride, limit)
        if first[equal:end] != second[equal:end]:
            return next(i for i in range(equal, end) if first[i] != second[i])
        equal, stride = end, 2 * stride
    return equal
