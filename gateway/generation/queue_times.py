"""How long requests have had to wait lately, which is when it may be worth trying again."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque

from gateway.errors import DeadlineError, GatewayError, OverloadedError
from gateway.request_record import GenerationRecord, Observer

_REMEMBERED = 64
_MAX_AGE = 60.0
_MAX_ADVICE_SECONDS = 60

_ABOUT_LOAD = (OverloadedError, DeadlineError)

_QUEUE = "queue"
"""What the engine calls the time before a request gets its place in the batch."""


class QueueTimes(Observer):
    """Remembers how long the engine let recent generations wait for their place."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)

    def generation_ended(self, generation: GenerationRecord) -> None:
        """Notes how long a generation waited, or that it waited in vain."""
        now = time.monotonic()
        wait = generation.phases.get(_QUEUE)
        if isinstance(generation.error, DeadlineError) and generation.first_token is None:
            wait = now - generation.started
        if wait is not None:
            self._waits.append((now, wait))

    def advise(self, error: GatewayError) -> None:
        """Makes an error that is about load say how long requests have to wait."""
        if isinstance(error, _ABOUT_LOAD):
            error.retry_after = self.retry_after()

    def retry_after(self) -> int:
        """Returns after how many seconds a request would probably get a place."""
        oldest = time.monotonic() - _MAX_AGE
        recent = [wait for when, wait in self._waits if when >= oldest]
        if not recent:
            return 1
        return min(max(1, math.ceil(statistics.median(recent))), _MAX_ADVICE_SECONDS)
