"""When a request entered each phase."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phases:
    """How many seconds a request spent in each phase; `None` for a phase that it did not reach.

    Attributes:
        queue: Waiting for a row of the batch and room in the KV cache.
        prefill: Computing, or copying, its prompt, up to the first token.
        decode: Generating the tokens after the first.
    """

    queue: float
    prefill: float | None = None
    decode: float | None = None


@dataclass(slots=True)
class RequestTimeline:
    """Timestamps in seconds of the monotonic clock; `None` means not yet."""

    submitted: float = 0.0
    admitted: float | None = None
    first_token: float | None = None
    newest_token: float | None = None

    def submit(self) -> None:
        """Notes that the request was accepted."""
        self.submitted = time.monotonic()

    def admit(self) -> None:
        """Notes that the request was admitted to the batch."""
        self.admitted = time.monotonic()

    def token(self, now: float) -> float:
        """Notes a new token; returns the seconds since the previous one, or since `submitted`."""
        before = self.submitted if self.newest_token is None else self.newest_token
        if self.first_token is None:
            self.first_token = now
        self.newest_token = now
        return now - before

    def phases(self) -> Phases:
        """Returns the phases of a request that ends now."""
        now = time.monotonic()
        if self.admitted is None:
            return Phases(now - self.submitted)
        queue = self.admitted - self.submitted
        if self.first_token is None:
            return Phases(queue, now - self.admitted)
        return Phases(queue, self.first_token - self.admitted, now - self.first_token)
