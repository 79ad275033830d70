"""Classifies failed gRPC calls to Triton, by their status and Triton's wording."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import grpc


class FailureKind(Enum):
    """What a failed call says about the server."""

    DEAD = "dead"
    """The Python process of a model has ended."""
    NOT_LOADED = "not loaded"
    UNREACHABLE = "unreachable"
    INVALID = "invalid"
    """A step refused a value of the request."""
    FULL = "full"
    LATE = "late"
    """The call timed out."""
    RESTRICTED = "restricted"
    """The server requires a secret that was not sent."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call.

    Attributes:
        kind: What it says about the server.
        model: The model whose process is dead; `""` for other kinds.
    """

    kind: FailureKind
    model: str = ""


_DEAD_STUB = re.compile(r"Stub process '(?P<model>\w+?)_\d+_\d+' is not healthy")
"""Triton's message about a dead Python process, which is named after its model and instance."""

_NOT_LOADED = ("unknown model", "no available versions", "is not ready", "is not at ready state")

_NO_CONNECTION = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""The status of a call when Triton exits; a call that we cancel raises `CancelledError`."""

_LOST_CONNECTION = re.compile(
    r"stream removed|rst_stream|goaway|socket closed|connection reset|internal error from core"
    r"|server is stopping",
    re.IGNORECASE,
)
"""What gRPC, or a Triton that shuts down, says in other statuses (UNKNOWN, INTERNAL).

Python's asyncio API says that Core failed when a request could not be written since its call had
ended, whatever had ended it.
"""

_RESTRICTED = "This protocol is restricted"
"""Triton's message for a call with a missing or wrong secret."""


def failure_of(status: grpc.StatusCode | None, text: str) -> Failure:
    """Classifies a failed call; the status is `None` for an error message inside a stream."""
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:  # "Stream removed", it may say
        return Failure(FailureKind.LATE)
    if dead := _DEAD_STUB.search(text):
        return Failure(FailureKind.DEAD, dead["model"])
    if _RESTRICTED in text:
        return Failure(FailureKind.RESTRICTED)
    if any(words in text for words in _NOT_LOADED):
        return Failure(FailureKind.NOT_LOADED)
    if status in _NO_CONNECTION or _LOST_CONNECTION.search(text):
        return Failure(FailureKind.UNREACHABLE)
    return Failure(FailureKind.OTHER)
