"""Every request's end, and which failures the faults of that time excuse."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.soak.verdicts import Outcome, Verdict

GRACE_SECONDS = 5.0
"""How long after the servers answer again a request may still feel a fault: each gateway looks at
its server's health once a second, and believes its own probe for three."""

MAX_KEPT = 20_000
"""How many failures are remembered one by one; any further one counts as a loss."""


@dataclass(slots=True)
class Fault:
    """Something that was broken on purpose.

    Attributes:
        gateway: The name of the gateway that alone is affected, or `""` for all.
        began: When, on the monotonic clock.
        ended: When a generation succeeded again; infinite until then.
    """

    kind: str
    gateway: str
    began: float
    ended: float = float("inf")

    @property
    def seconds(self) -> float:
        """How long nothing was served."""
        return self.ended - self.began

    def excuses(self, failure: Entry) -> bool:
        """Whether a request could feel it."""
        if self.gateway not in ("", failure.gateway):
            return False
        if failure.broken_connection and not self.gateway:
            return False  # a gateway whose model is gone still answers
        return failure.began <= self.ended + GRACE_SECONDS and failure.ended >= self.began


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that was not answered, or not rightly.

    Attributes:
        request_id: Its id, which the gateway's log has too.
        began: When it was sent, on the monotonic clock.
        broken_connection: Whether the connection failed, rather than the request.
    """

    request_id: str
    action: str
    gateway: str
    began: float
    ended: float
    detail: str
    broken_connection: bool = False


@dataclass(slots=True)
class Ledger:
    """All requests."""

    faults: list[Fault] = field(default_factory=list)
    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    losses: list[Entry] = field(default_factory=list)
    _failures: list[Entry] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many requests there were."""
        return sum(self.counts.values())

    def record(self, entry: Entry, verdict: Verdict) -> None:
        """Counts a request that has ended."""
        self.counts[entry.action, verdict.outcome] += 1
        if verdict.outcome is Outcome.LOST:
            self._lose(entry)
        elif verdict.outcome is Outcome.FAILED:
            if len(self._failures) < MAX_KEPT:
                self._failures.append(entry)
            else:
                self._lose(entry)

    def lose(self, action: str, detail: str, request_id: str = "", gateway: str = "") -> None:
        """Notes that something other than a single request went wrong."""
        now = time.monotonic()
        self.counts[action, Outcome.LOST] += 1
        self._lose(Entry(request_id, action, gateway, now, now, detail))

    def settle(self) -> None:
        """Turns failures that no fault excuses into losses; called once, at the end."""
        for failure in self._failures:
            if not any(fault.excuses(failure) for fault in self.faults):
                self.counts[failure.action, Outcome.FAILED] -= 1
                self.counts[failure.action, Outcome.LOST] += 1
                self._lose(failure)
        self._failures.clear()

    def of(self, outcome: Outcome, actions: Sequence[str] = ()) -> int:
        """Returns how many requests ended in a way."""
        return sum(
            count
            for (action, each), count in self.counts.items()
            if each is outcome and (not actions or action in actions)
        )

    def _lose(self, entry: Entry) -> None:
        if len(self.losses) < MAX_KEPT:
            self.losses.append(entry)
