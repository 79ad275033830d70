"""Which rows of the batch (and so of the KV cache and the steering table) are taken."""

from __future__ import annotations

import heapq


class RowPool:
    """Hands out batch rows, the lowest free one first.

    Rows in use so tend to be the first ones, which lets attention read the KV cache in place.

    Args:
        num_rows: How many rows there are.
    """

    def __init__(self, num_rows: int) -> None:
        self._free = list(range(num_rows))
        self._taken: set[int] = set()

    @property
    def num_free(self) -> int:
        """How many rows can be taken."""
        return len(self._free)

    def take(self) -> int:
        """Takes the lowest free row.

        Raises:
            IndexError: Every row is taken.
        """
        row = heapq.heappop(self._free)
        self._taken.add(row)
        return row

    def give_back(self, row: int) -> None:
        """Frees a row.

        Raises:
            ValueError: The row is not taken.
        """
        if row not in self._taken:
            raise ValueError(f"row {row} is not taken")
        self._taken.remove(row)
        heapq.heappush(self._free, row)
