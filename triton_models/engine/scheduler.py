"""Which tokens of which requests the next step computes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from triton_models.engine.rows import RowPool
from triton_models.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of one sequence's tokens to compute in a step.

    Attributes:
        sequence: Whose tokens.
        start: The position of the first.
        length: How many.
    """

    sequence: Sequence
    start: int
    length: int

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + self.length

    @property
    def reaches_last_token(self) -> bool:
        """Whether the step gives the logits of the sequence's next token."""
        return self.end == len(self.sequence.token_ids)


class Scheduler:
    """Owns the sequences that wait and run. First come, first served.

    Each step computes one token of every sequence that is generating, and up to `prefill_chunk`
    prompt tokens of those that are not there yet, in the order they came.

    Args:
        num_rows: How many sequences can run at once.
        prefill_chunk: The most prompt tokens in a step.
    """

    def __init__(self, num_rows: int, prefill_chunk: int) -> None:
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
        """Gives free rows to the sequences that have waited longest, and returns those."""
        admitted = []
        while self._waiting and self._rows.num_free:
            sequence = self._waiting.popleft()
            sequence.row = self._rows.take()
            self._running.append(sequence)
            admitted.append(sequence)
        return admitted

    def plan(self) -> list[Slice]:
        """Returns what the next step computes: generating sequences by row, then prompts."""
        decodes = []
        prefills = []
        budget = self._prefill_chunk
        for sequence in self._running:
            if sequence.finished:
                continue
            if sequence.num_uncomputed == 1:
                decodes.append(Slice(sequence, sequence.num_computed, 1))
            elif budget:
                length = min(budget, sequence.num_uncomputed)
                prefills.append(Slice(sequence, sequence.num_computed, length))
                budget -= length
        decodes.sort(key=lambda slice: slice.sequence.row or 0)
        return decodes + prefills

    def remove_finished(self) -> list[Sequence]:
        """Drops the finished sequences, frees their rows, and returns them."""
        finished = [sequence for sequence in self.sequences() if sequence.finished]
        if finished:
            self._running = [each for each in self._running if not each.finished]
            self._waiting = deque(each for each in self._waiting if not each.finished)
        for sequence in finished:
            if sequence.row is not None:
                self._rows.give_back(sequence.row)
        return finished
