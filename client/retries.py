"""Whether to make a call again, and when, without any waiting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from persona_client.errors import PersonaError

_FIRST_PAUSE = 0.2
_MAX_PAUSE = 8.0
_JITTER = 0.5
"""Which part of a pause is drawn, so that clients refused together do not come back together."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and until when, to make a call that the server could not answer.

    Attributes:
        retries: How often to make it again; 0 never.
        deadline: How many seconds after the first attempt the last one must have begun.
    """

    retries: int
    deadline: float

    def __post_init__(self) -> None:
        if self.retries < 0 or self.deadline <= 0:
            raise ValueError("retries must not be negative, and a deadline must lie ahead")


class Attempts:
    """The attempts of one call, the first of which begins now."""

    def __init__(
        self,
        policy: RetryPolicy,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._now = now
        self._draw = draw
        self._end = now() + policy.deadline
        self._failed = 0

    def seconds_left(self) -> float:
        """Returns what is left until the deadline, and never nothing."""
        return max(0.001, self._end - self._now())

    def pause_after(self, error: PersonaError) -> float:
        """Returns how many seconds to wait before the next attempt.

        Pauses double; the server's own suggestion is the least.

        Raises:
            PersonaError: That error, if there is no next attempt.
        """
        self._failed += 1
        if not error.transient or self._failed > self._policy.retries:
            raise error
        pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2.0 ** (self._failed - 1))
        pause *= 1 - _JITTER * self._draw()
        pause = max(pause, error.retry_after or 0.0)
        if self._now() + pause >= self._end:
            raise error
        return pause
