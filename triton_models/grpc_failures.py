"""What it means when a call of Triton's gRPC fails: its words, told apart in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

import grpc


class FailureKind(Enum):
    """What a failed call says about the server."""

    DEAD = "dead"
    """The process behind a model is gone."""
    NOT_LOADED = "not loaded"
    UNREACHABLE = "unreachable"
    INVALID = "invalid"
    """It refused a value of the request."""
    FULL = "full"
    LATE = "late"
    """It took longer than it may."""
    RESTRICTED = "restricted"
    """It asks for a secret that was not sent."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call.

    Attributes:
        kind: What it says about the server.
        model: The model whose process is dead, `""` for other kinds.
    """

    kind: FailureKind
    model: str = ""


_DEAD_STUB = re.compile(r"Stub process '(?P<model>\w+?)_\d+_\d+' is not healthy")
"""Triton's words for a model's dead Python process, named after the model and its instance."""

_NOT_LOADED = (
    "unknown model",
    "no available versions",
    "is not ready",
    "is not at ready state",
)

_NO_CONNECTION = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""What a call ends with when Triton goes away; a call that we cancel raises `CancelledError`."""

_LOST_CONNECTION = re.compile(
    r"stream removed|rst_stream|goaway|socket closed|connection reset|server is stopping",
    re.IGNORECASE,
)
"""What gRPC, or a Triton that shuts down, says in other statuses (UNKNOWN, INTERNAL) then."""

_RESTRICTED = "This protocol is restricted"
"""Triton's words for a call without the header that it asks for, or with another's value."""

_BY_STATUS: dict[grpc.StatusCode, FailureKind] = {
    grpc.StatusCode.INVALID_ARGUMENT: FailureKind.INVALID,
    grpc.StatusCode.RESOURCE_EXHAUSTED: FailureKind.FULL,
    grpc.StatusCode.DEADLINE_EXCEEDED: FailureKind.LATE,
}


def failure_of(status: grpc.StatusCode | None, text: str) -> Failure:
    """Tells what a failed call says about the server.

    Args:
        status: The gRPC status; `None` for an error message inside a stream.
        text: The text that came with it.
    """
    if dead := _DEAD_STUB.search(text):
        return Failure(FailureKind.DEAD, dead["model"])
    if _RESTRICTED in text:
        return Failure(FailureKind.RESTRICTED)
    if any(words in text for words in _NOT_LOADED):
        return Failure(FailureKind.NOT_LOADED)
    if status in _NO_CONNECTION or _LOST_CONNECTION.search(text):
        return Failure(FailureKind.UNREACHABLE)
    return Failure(_BY_STATUS.get(status, FailureKind.OTHER) if status else FailureKind.OTHER)
