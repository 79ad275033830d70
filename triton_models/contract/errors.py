"""Errors that reach a user.

Every error a request can meet is a :class:`RequestError` whose message says what was wrong and
what would be right, and whose code says how a transport should report it. The adapters put both
into the response (`error`, `error_code`), or into the text of a plain Triton error, whose own code
gRPC streams do not carry; the gateway maps the code to an HTTP status, once.
"""

from __future__ import annotations

import re
from enum import Enum


class ErrorCode(str, Enum):
    """Why a request failed, in the vocabulary of gRPC's status codes."""

    INVALID_ARGUMENT = "invalid_argument"
    """The request can never succeed as it is: the client must change it."""

    NOT_FOUND = "not_found"
    """The request names something unknown, such as a trait."""

    RESOURCE_EXHAUSTED = "resource_exhausted"
    """The server is overloaded: the same request can succeed later."""

    UNAVAILABLE = "unavailable"
    """The engine is starting, stopping or dead: the same request can succeed later."""

    INTERNAL = "internal"
    """A defect, or a failure of the machine, while the request ran."""


class RequestError(Exception):
    """A request failed, with a message meant for the user who sent it."""

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


_ERROR_TEXT = re.compile(
    rf"(?:in ensemble '\w+', )?(?P<code>{'|'.join(ErrorCode)}): (?P<message>.+)",
    re.DOTALL,
)


def error_text(error: RequestError) -> str:
    """Returns an error as one text, `"invalid_argument: the prompt is empty"`."""
    return f"{error.code.value}: {error.message}"


def read_error_text(text: str) -> tuple[str, str] | None:
    """Returns code and message of an `error_text`, which an ensemble may have put its name before.

    Args:
        text: What a Triton error says; `None` is returned if it is none of ours.
    """
    found = _ERROR_TEXT.fullmatch(text)
    return (found["code"], found["message"]) if found else None


class InvalidArgumentError(RequestError):
    """A value of the request is missing, malformed, or out of range."""

    code = ErrorCode.INVALID_ARGUMENT


CONTEXT_LENGTH_WORDS = "This model's maximum context length is"
"""How the message of a `ContextLengthError` begins: OpenAI's words, by which routers and agents
know that a shorter request, or another model, would do."""


class ContextLengthError(InvalidArgumentError):
    """The prompt and its answer do not fit the context.

    Args:
        context_length: The maximum number of tokens of both together.
        problem: What is wrong, and what would be right.
    """

    def __init__(self, context_length: int, problem: str) -> None:
        super().__init__(f"{CONTEXT_LENGTH_WORDS} {context_length} tokens, but {problem}")


class EnforcementError(RequestError):
    """What a policy enforces cannot be applied: whoever runs the server must see to it.

    Args:
        reason: Why not.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"nothing is generated, since what the policy enforces cannot be applied: {reason}"
        )


class TraitNotLoadedError(RequestError):
    """The request names a trait for which no vector is loaded."""

    code = ErrorCode.NOT_FOUND


class QueueFullError(RequestError):
    """The waiting queue is full."""

    code = ErrorCode.RESOURCE_EXHAUSTED


class CompilerBusyError(RequestError):
    """Formats of other requests take so long to compile that no further one can be."""

    code = ErrorCode.RESOURCE_EXHAUSTED


class EngineUnavailableError(RequestError):
    """The engine cannot accept requests."""

    code = ErrorCode.UNAVAILABLE
