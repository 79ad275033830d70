"""Decides which tokens of which requests the next step computes."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from triton_models.engine.kv_room import MIN_SHARED_TOKENS, Extent, KVRoom
from triton_models.engine.rows import RowPool
from triton_models.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Slice:
    """A chunk of one prompt to compute in a step.

    Attributes:
        start: The position of the first token.
        gives_token: Whether it completes the prompt, so that the step samples the first token.
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
    """A prefix of `length` tokens to copy from the extent of another request."""

    source: Extent
    sequence: Sequence
    length: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a step does: first the copies, then one token of each generating sequence, and prompts.

    Attributes:
        generating: The sequences whose newest token is computed, sorted by row.
        positions: The positions of those tokens.
    """

    copies: tuple[PrefixCopy, ...] = ()
    generating: SequenceOf[Sequence] = ()
    positions: SequenceOf[int] = ()
    prompts: tuple[Slice, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compute."""
        return not (self.generating or self.prompts)

    @property
    def num_tokens(self) -> int:
        """How many tokens are computed, of prompts and answers."""
        return len(self.generating) + sum(slice.length for slice in self.prompts)

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences that the step computes."""
        return [*self.generating, *(slice.sequence for slice in self.prompts)]

    @property
    def giving(self) -> list[Sequence]:
        """The sequences whose next token is sampled, in the order of their logits."""
        prompts = [slice.sequence for slice in self.prompts if slice.gives_token]
        return [*self.generating, *prompts]


PromptBudget = Callable[[bool], int]
"""Returns the maximum number of prompt tokens of a step, given whether anything is generating."""


class Scheduler:
    """Owns the waiting and running sequences. First come, first served.

    Each step computes one token of every generating sequence, and prompt tokens of the others in
    order of arrival. A sequence is admitted once there is a row of the batch for it, and room in
    the KV cache for its prompt and its longest answer.
    """

    def __init__(self, num_rows: int, prompt_budget: PromptBudget, room: KVRoom) -> None:
        self.room = room
        self._rows = RowPool(num_rows)
        self._prompt_budget = prompt_budget
        self._waiting: deque[Sequence] = deque()
        self._prompting: list[Sequence] = []
        """Running sequences whose prompt is not computed yet, in order of arrival."""
        self._generating: list[Sequence] = []
        """Running sequences that have a token, or will get one from a launched step, by row."""

    @property
    def num_running(self) -> int:
        """How many sequences have a row and are not finished."""
        return sum(not sequence.finished for sequence in self._running())

    @property
    def has_work(self) -> bool:
        """Whether any sequence is unfinished and can be computed, or waits for others."""
        return bool(self._generating or self._prompting or self._first_waiting() is not None)

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the queue."""
        self._waiting.append(sequence)

    def sequences(self) -> list[Sequence]:
        """Returns every sequence, running ones first."""
        return [*self._running(), *self._waiting]

    def admit(self) -> list[Sequence]:
        """Admits waiting sequences in order of arrival while there is room, and returns them."""
        admitted = []
        while self._rows.num_free and (sequence := self._first_waiting()) is not None:
            length = sequence.num_prompt_tokens + sequence.max_tokens
            if not self.room.fits(length):
                break
            if (
                not sequence.computes_whole_prompt
            ):  # so that reserving room does not evict its prefix
                self.room.find_computed(sequence.content)
            sequence.extent = self.room.reserve(length, sequence.content)
            sequence.row = self._rows.take()
            sequence.awaited = self._find_awaited(sequence) if self.room.reuse else None
            self._waiting.remove(sequence)
            self._prompting.append(sequence)
            admitted.append(sequence)
        return admitted

    def _first_waiting(self) -> Sequence | None:
        """Returns the first waiting sequence that can be computed."""
        return next((each for each in self._waiting if not each.awaits_format), None)

    def plan(self) -> Plan:
        """Returns the plan of the next step, and counts it as computed.

        Prefixes are copied before the step computes, so only from what earlier steps computed.
        """
        generating = [each for each in self._generating if each.has_room_for_launch]
        prompts, copies = self._plan_prompts(bool(generating))
        # Only now, so that no prompt copies what this step computes.
        positions = [sequence.launch_token() for sequence in generating]
        for each in prompts:
            each.sequence.launch(each.length)
            if each.gives_token:
                self._prompting.remove(each.sequence)
                insort(self._generating, each.sequence, key=_row_of)
        return Plan(tuple(copies), generating, positions, tuple(prompts))

    def _plan_prompts(self, anything_generates: bool) -> tuple[list[Slice], list[PrefixCopy]]:
        prompts: list[Slice] = []
        copies: list[PrefixCopy] = []
        if not self._prompting:
            return prompts, copies
        budget = self._prompt_budget(anything_generates)
        for sequence in self._prompting:
            if sequence.finished or not budget or _awaits(sequence):
                continue
            if not sequence.num_computed and (copy := self._find_copy(sequence)):
                copies.append(copy)
            start = sequence.num_computed
            length = min(budget, sequence.num_prompt_tokens - start)
            gives_token = start + length == sequence.num_prompt_tokens
            prompts.append(Slice(sequence, start, length, gives_token))
            budget -= length
        return prompts, copies

    def remove_finished(self) -> list[Sequence]:
        """Removes finished sequences, frees their rows and extents, and returns them."""
        finished = [sequence for sequence in self.sequences() if sequence.finished]
        if finished:
            self._prompting = [each for each in self._prompting if not each.finished]
            self._generating = [each for each in self._generating if not each.finished]
            self._waiting = deque(each for each in self._waiting if not each.finished)
        for sequence in finished:
            if sequence.row is not None:
                self._rows.give_back(sequence.row)
            if sequence.extent is not None:
                self.room.release(sequence.extent, keep=not sequence.failed)
        return finished

    def _running(self) -> list[Sequence]:
        return [*self._generating, *self._prompting]

    def _find_awaited(self, sequence: Sequence) -> tuple[Sequence, int] | None:
        """Returns the running sequence that computes the longest shared prefix, and its length."""
        best: tuple[Sequence, int] | None = None
        if sequence.computes_whole_prompt:
            return None
        for other in self._prompting:
            if other.extent is None or other.num_computed >= other.num_prompt_tokens:
                continue
            shared = min(other.content.shared_with(sequence.content), other.num_prompt_tokens)
            if shared >= MIN_SHARED_TOKENS and (best is None or shared > best[1]):
                best = (other, shared)
        return best

    def _find_copy(self, sequence: Sequence) -> PrefixCopy | None:
        if sequence.computes_whole_prompt:  # what is copied has no states
            return None
        found = self.room.find_computed(sequence.content)
        if found is None or sequence.extent is None:
            return None
        source, length = found
        sequence.num_reused = sequence.extent.num_computed = length
        return PrefixCopy(source, sequence, length)


def _row_of(sequence: Sequence) -> int:
    return -1 if sequence.row is None else sequence.row


def _awaits(sequence: Sequence) -> bool:
    """Whether the sequence still waits for another one to compute their shared prefix."""
    if sequence.awaited is None:
        return False
    other, shared = sequence.awaited
    if other.finished or other.num_computed >= shared:
        sequence.awaited = None
        return False
    return True
