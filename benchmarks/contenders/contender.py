"""What the scenarios know about a way of serving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.measurement import Measurement
from benchmarks.workload import Prompts, Workload


class Contender(Protocol):
    """A way of serving several streams."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """Serves a workload once and says what that delivered."""

    def requests_served(self, workload: Workload) -> int:
        """Returns how many of a workload's requests a run computes."""


@dataclass(frozen=True, slots=True)
class ComputingIn:
    """A contender whose runs are computed in the thread of another one.

    OpenMP keeps workers for every thread that has computed, and with more of them than cores all
    are slow: contenders of one process take turns with the same ones, llama.cpp too, which shares
    PyTorch's OpenMP. See `in_short_lived_thread`.
    """

    contender: Contender
    compute: Callable[[Callable[[], Measurement]], Measurement]

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    def requests_served(self, workload: Workload) -> int:
        """See `Contender`."""
        return self.contender.requests_served(workload)

    def run(self, workload: Workload, prompts: Prompts) -> Measurement:
        """See `Contender`."""
        return self.compute(lambda: self.contender.run(workload, prompts))
