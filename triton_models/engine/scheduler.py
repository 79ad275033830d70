"""Which tokens of which requests the next step computes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from triton_models.engine.kv_room import MIN_SHARED_TOKENS, Extent, KVRoom
from triton_models.engine.rows import RowPool
from triton_models.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of one sequence's tokens to compute in a step.

    Attributes:
        sequence: Whose tokens.
        start: The position of the first.
        length: How many.
        gives_token: Whether the step gives the sequence's next token.
    """

    sequence: Sequence
    start: int
    length: int
    gives_token: bool

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class PrefixCopy:
    """A prompt's beginning that another request's cache has already.

    Attributes:
        source: The extent that has it.
        sequence: The sequence that needs it.
        length: How many tokens.
    """

    source: Extent
    sequence: Sequence
    length: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step does: first the copies, then the slices.

    Attributes:
        copies: Beginnings to copy in the KV cache.
        slices: Tokens to compute: of generating sequences by row, then of prompts.
    """

    copies: tuple[PrefixCopy, ...] = ()
    slices: tuple[Slice, ...] = ()


class Scheduler:
    """Owns the sequences that wait and run. First come, first served.

    Each step computes one token of every sequence that is generating, and up to `prefill_chunk`
    prompt tokens of those that are not there yet, in the order they came. A sequence runs once
    there is a row of the batch for it, and room for all the keys and values it may come to need.

    Args:
        num_rows: How many sequences can run at once.
        prefill_chunk: The most prompt tokens in a step.
        room: The KV cache's room.
    """

    def __init__(self, num_rows: int, prefill_chunk: int, room: KVRoom) -> None:
        self.room = room
        self._rows = RowPool(num_rows)
        self._prefill_chunk = prefill_chunk
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def num_running(self) -> int:
        """How many sequences have a row and are not finished."""
        return sum(not sequence.finished for sequence in self._running)

    @property
    def has_work(self) -> bool:
        """Whether any sequence is unfinished."""
        return bool(self._waiting or self._running)

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the queue."""
        self._waiting.append(sequence)

    def sequences(self) -> list[Sequence]:
        """Returns every sequence, running ones first."""
        return [*self._running, *self._waiting]

    def admit(self) -> list[Sequence]:
        """Lets the sequences that have waited longest run, as far as there is room for them.

        Returns:
            Those sequences.
        """
        admitted = []
        while self._waiting and self._rows.num_free:
            sequence = self._waiting[0]
            length = sequence.num_prompt_tokens + sequence.max_tokens
            if not self.room.fits(length):
                break
            self.room.find_computed(sequence.content)  # lest what it can reuse be evicted for it
            sequence.extent = self.room.reserve(length, sequence.content)
            sequence.row = self._rows.take()
            sequence.awaited = self._find_awaited(sequence) if self.room.reuse else None
            self._waiting.popleft()
            self._running.append(sequence)
            admitted.append(sequence)
        return admitted

    def plan(self) -> Plan:
        """Returns what the next step does, and counts it as computed.

        Beginnings are copied from what earlier steps computed: this step's copies come first.
        """
        decodes, prefills, copies = [], [], []
        budget = self._prefill_chunk
        for sequence in self._running:
            if sequence.finished or sequence.has_last_token_in_flight:
                continue
            if sequence.num_generated or sequence.num_in_flight:
                decodes.append(_slice(sequence, 1))
            elif budget and not _awaits(sequence):
                if not sequence.num_computed and (copy := self._find_copy(sequence)):
                    copies.append(copy)
                length = min(budget, sequence.num_uncomputed)
                prefills.append(_slice(sequence, length))
                budget -= length
        decodes.sort(key=lambda slice: slice.sequence.row or 0)
        for each in (*decodes, *prefills):
            each.sequence.launch(each.length, each.gives_token)
        return Plan(tuple(copies), (*decodes, *prefills))

    def remove_finished(self) -> list[Sequence]:
        """Drops the finished sequences, frees their rows and room, and returns them."""
        finished = [sequence for sequence in self.sequences() if sequence.finished]
        if finished:
            self._running = [each for each in self._running if not each.finished]
            self._waiting = deque(each for each in self._waiting if not each.finished)
        for sequence in finished:
            if sequence.row is not None:
                self._rows.give_back(sequence.row)
            if sequence.extent is not None:
                self.room.release(sequence.extent, keep=not sequence.failed)
        return finished

    def _find_awaited(self, sequence: Sequence) -> tuple[Sequence, int] | None:
        """Returns the running sequence that will soon have most of a prompt's beginning."""
        best: tuple[Sequence, int] | None = None
        for other in self._running:
            if other.extent is None or other.num_computed >= other.num_prompt_tokens:
                continue
            shared = min(other.content.shared_with(sequence.content), other.num_prompt_tokens)
            if shared >= MIN_SHARED_TOKENS and (best is None or shared > best[1]):
                best = (other, shared)
        return best

    def _find_copy(self, sequence: Sequence) -> PrefixCopy | None:
        found = self.room.find_computed(sequence.content)
        if found is None or sequence.extent is None:
            return None
        source, length = found
        sequence.num_reused = sequence.extent.num_computed = length
        return PrefixCopy(source, sequence, length)


def _slice(sequence: Sequence, length: int) -> Slice:
    """Returns a sequence's next tokens as a slice."""
    start = sequence.num_computed
    return Slice(sequence, start, length, gives_token=start + length == sequence.num_tokens)


def _awaits(sequence: Sequence) -> bool:
    """Whether it is still worth waiting for another sequence's computation."""
    if sequence.awaited is None:
        return False
    other, shared = sequence.awaited
    if other.finished or other.num_computed >= shared:
        sequence.awaited = None
        return False
    return True
