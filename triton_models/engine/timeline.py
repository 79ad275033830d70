"""When a request came from one phase of its life to the next."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phases:
    """How many seconds a request spent in each phase; `None` for one that it did not come to.

    Attributes:
        queue: It waited for a row of the batch and room in the KV cache.
        prefill: Its prompt was computed, or copied, up to the first token.
        decode: The tokens after the first were generated.
    """

    queue: float
    prefill: float | None = None
    decode: float | None = None


@dataclass(slots=True)
class RequestTimeline:
    """The moments, in seconds of the monotonic clock; `None` is not yet.

    Attributes:
        submitted: It was taken.
        admitted: It got a row and room.
        first_token: Its first token was known.
        newest_token: Its newest token was known.
    """

    submitted: float = 0.0
    admitted: float | None = None
    first_token: float | None = None
    newest_token: float | None = None

    def submit(self) -> None:
        """Notes that the request was taken."""
        self.submitted = time.monotonic()

    def admit(self) -> None:
        """Notes that the request got its place."""
        self.admitted = time.monotonic()

    def token(self, now: float) -> float:
        """Notes a new token; returns the seconds since the one before it, or since `submitted`.

        Args:
            now: The moment, read once for all tokens of a step.
        """
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
