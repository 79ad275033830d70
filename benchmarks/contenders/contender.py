"""What the scenarios know about a way of serving."""

from __future__ import annotations

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
