"""Which part of the KV cache belongs to which request, and what of it later ones can reuse.

The cache is one long run of token slots. A request gets an extent of it that is as long as its
prompt and answer can become, so that a running request never runs out of room and is never
preempted: it waits, or it runs to its end. Extents are contiguous, so attention can read them in
place. Slot 0 is no request's: padding points at it.

An extent stays readable after its request has ended, until its room is needed. A later prompt that
begins with the same tokens, computed under the same steering, copies them instead of computing
them again. Keys and values depend on every token before them and on what was added to the residual
stream there, so both are compared, token by token.

Memory follows use: extents lie in the part of the cache that is open, which grows only when running
requests need more than there is of it. What is kept for later prompts never makes it grow.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

from triton_models.model.attention import FIRST_SLOT

MIN_SHARED_TOKENS = 16
"""The shortest common beginning that is worth a copy, or a wait for another request's prompt."""

MAX_RETAINED = 256
"""The most ended extents that are kept, which bounds the search through them."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a request's keys and values were, or will be, computed from.

    Attributes:
        token_ids: The prompt and, as they come, the generated tokens.
        num_prompt_tokens: How many of them are the prompt.
        prompt_key: Names what steers the prompt's tokens; `""` is nothing.
        response_key: Names what steers the generated tokens.
    """

    token_ids: SequenceOf[int]
    num_prompt_tokens: int
    prompt_key: str
    response_key: str

    def shared_with(self, other: Content) -> int:
        """Returns how many of the first tokens have the same keys and values in `other`'s prompt.

        At least one of `other`'s prompt tokens is left, since its logits are needed.
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
        start: The first slot.
        length: How many slots.
        content: What they hold.
        num_computed: How many of the content's tokens have their keys and values here.
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
    """Hands out extents of the KV cache.

    Attributes:
        num_slots: How many token slots there are for requests.
        reuse: Whether ended extents are kept for later prompts.
        growth: How many slots are opened at a time; 0 opens all at once.
    """

    num_slots: int
    reuse: bool = True
    growth: int = 0
    _num_open: int = field(init=False)
    _extents: list[Extent] = field(default_factory=list)
    """Those in use and those retained, by their start."""
    _in_use: list[Extent] = field(default_factory=list)
    """Those of requests that have not ended, by their start."""
    _retained: dict[Extent, None] = field(default_factory=dict)
    """Those whose requests have ended, the one unused for longest first."""

    def __post_init__(self) -> None:
        self._num_open = min(self.growth, self.num_slots) or self.num_slots

    @property
    def used_slots(self) -> int:
        """How many slots belong to requests that have not ended."""
        # Copied first, here and below: other threads ask while the engine's goes on.
        return sum(extent.length for extent in list(self._in_use))

    @property
    def retained_slots(self) -> int:
        """How many slots are kept for reuse, and free for any request that needs room."""
        return sum(extent.length for extent in list(self._retained))

    def fits(self, length: int) -> bool:
        """Whether running requests leave room for one of `length` slots."""
        return self._find_gap(length, self._in_use, self.num_slots) is not None

    def reserve(self, length: int, content: Content) -> Extent | None:
        """Takes room for a request, from what is free or what has been unused for longest.

        Args:
            length: How many slots, at most `num_slots`.
            content: What they will hold.

        Returns:
            The extent, or `None` when running requests leave no such room.
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
        """Ends a request's use of its extent.

        Args:
            extent: The extent.
            keep: Whether what it holds can be trusted by later prompts.
        """
        self._in_use.remove(extent)
        if not (keep and self.reuse and extent.num_computed >= MIN_SHARED_TOKENS):
            self._extents.remove(extent)
            return
        # What the answer did not come to need is free at once.
        extent.length = extent.num_computed
        self._retained[extent] = None
        if len(self._retained) > MAX_RETAINED:
            self._evict(next(iter(self._retained)))

    def find_computed(self, content: Content) -> tuple[Extent, int] | None:
        """Returns the extent that has most of a prompt's beginning computed, and how much."""
        best: tuple[Extent, int] | None = None
        for extent in self._extents if self.reuse else ():
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
        """Returns the start of the smallest gap in the first slots that is long enough."""
        best: tuple[int, int] | None = None
        position = FIRST_SLOT
        for extent in extents:
            gap = extent.start - position
            if gap >= length and (best is None or gap < best[0]):
                best = (gap, position)
            position = extent.start + extent.length  # `end` would take most of the search
        gap = FIRST_SLOT + num_slots - position
        if gap >= length and (best is None or gap < best[0]):
            best = (gap, position)
        return None if best is None else best[1]


def _common_length(first: SequenceOf[int], second: SequenceOf[int], limit: int) -> int:
    """Returns how many of the first `limit` elements are equal, in ever longer strides."""
    equal, stride = 0, MIN_SHARED_TOKENS
    while equal < limit:
        end = min(equal + stride, limit)
        if first[equal:end] != second[equal:end]:
            return next(i for i in range(equal, end) if first[i] != second[i])
        equal, stride = end, 2 * stride
    return equal
