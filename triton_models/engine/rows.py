"""Which rows of the batch, and so lines of the steering table, are in use."""

from __future__ import annotations

import heapq


class RowPool:
    """Allocates batch rows, the lowest free one first."""

    def __init__(self, num_rows: int) -> None:
        self._free = list(range(num_rows))
        self._taken: set[int] = set()

    @property
    def num_free(self) -> int:
        """How many rows are free."""
        return len(self._free)

    def take(self) -> int:
        """Takes the lowest free row; raises `IndexError` if all are taken."""
        row = heapq.heappop(self._free)
        self._taken.add(row)
        return row

    def give_back(self, row: int) -> None:
        """Frees a row; raises `ValueError` if it is not taken."""
        if row not in self._taken:
            raise ValueError(f"row {row} is not taken")
        self._taken.remove(row)
        heapq.heappush(self._free, row)
