"""How long a request's client is willing to wait."""

from __future__ import annotations

import math
import time

from starlette.datastructures import Headers

from gateway.errors import LateStartError, UnprocessableError
from gateway.generation.generation import Deadlines
from gateway.request_record import RequestRecord

TIMEOUT_HEADER = "X-Request-Timeout"


def within(deadlines: Deadlines, request: RequestRecord | None) -> Deadlines:
    """Returns the deadlines of a generation, none later than what is left of its client's patience.

    Raises:
        UnprocessableError: The client says something that is no time.
        LateStartError: Its time is over.
    """
    patience = None if request is None else _patience(Headers(scope=request.scope))
    if request is None or patience is None:
        return deadlines
    left = patience - (time.monotonic() - request.started)
    if left <= 0:
        raise LateStartError(f"the request's time ({patience:g} s) was over before it was sent")
    first, between, total = deadlines.first, deadlines.between, deadlines.total
    return Deadlines(min(first, left), min(between, left), min(total, left), deadlines.streamed)


def _patience(headers: Headers) -> float | None:
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    # No infinity either: whoever wants to wait for ever need not say so.
    if not 0 < seconds < math.inf:
        raise UnprocessableError(f"{TIMEOUT_HEADER} is {text[:40]!r}: send seconds, more than 0")
    return seconds
