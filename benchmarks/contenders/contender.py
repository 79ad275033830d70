"""What the scenarios know about a way of serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from benchmarks.measurement import Measurement
from benchmarks.workload import Prompts, Workload


class Contender(Protocol):
    """A way of serving several streams, with the name that tables call it."""

    name: str

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload once, says what that delivered, and fails if a stream is cut short."""

    def requests_served(self, workload: Workload) -> int:
        """Returns how many of a workload's requests a run computes."""
        return workload.streams


class ComputingIn(Contender):
    """A contender whose runs are computed in the thread of another one.

    OpenMP keeps workers for every thread that has computed, and with more of them than cores all
    are slow: contenders of one process take turns with the same ones, llama.cpp too, which shares
    PyTorch's OpenMP. See `in_short_lived_thread`.
    """

    def __init__(
        self, contender: Contender, compute: Callable[[Callable[[], Measurement]], Measurement]
    ) -> None:
        self.name = contender.name
        self._contender = contender
        self._compute = compute

    def requests_served(self, workload: Workload) -> int:
        """See `Contender`."""
        return self._contender.requests_served(workload)

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """See `Contender`."""
        return self._compute(lambda: self._contender.run(workload, prompts))
