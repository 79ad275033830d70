"""Everything that can go wrong with a request, and the one place that says which status it gets.

Errors come from three sides: the model answers one in-band (a code and a message for the user),
gRPC reports one (a status and text that may be a stack trace), or the gateway itself gives up.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import grpc

from triton_models.contract.errors import CONTEXT_LENGTH_WORDS, ErrorCode
from triton_models.grpc_failures import FailureKind, failure_of

CLIENT_CLOSED = 499
"""The status of an answer that no client sees: it tells the log that there was nobody to answer."""

MAX_MESSAGE_CHARS = 2000
"""Characters of a message: what a request says may stand in it several times over."""


class GatewayError(Exception):
    """A request failed.

    Attributes:
        message: What went wrong and what would be right, for the user.
        detail: What only the log should say, or `""`.
        retry_after: After how many seconds to try again, if that can help.
    """

    code: ClassVar[str] = ErrorCode.INTERNAL.value
    status: ClassVar[int] = 500
    retry_after: int | None = None
    _more_headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, detail: str = "") -> None:
        message = shortened(message, MAX_MESSAGE_CHARS)
        super().__init__(message)
        self.message = message
        self.detail = shortened(detail, MAX_MESSAGE_CHARS)

    @property
    def headers(self) -> dict[str, str]:
        """The response headers that go with the status."""
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**wait, **self._more_headers}


def shortened(text: str, longest: int) -> str:
    """Returns a text, or its beginning and three dots."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


class InvalidRequestError(GatewayError):
    """The model server refused a value of the request."""

    code = ErrorCode.INVALID_ARGUMENT.value
    status = 400


class UnprocessableError(InvalidRequestError):
    """The gateway refused a value of the request, by the model server's rules."""

    status = 422


class ContextLengthError(InvalidRequestError):
    """The prompt and its answer do not fit the model's context."""

    code = "context_length_exceeded"


class PromptSizeError(UnprocessableError, ContextLengthError):
    """The prompt is longer than any that the gateway passes on.

    Its message begins with `CONTEXT_LENGTH_WORDS` too: a shorter prompt would do here as well.
    """


class UnknownTraitError(GatewayError):
    """The request names a trait that is not loaded."""

    code = ErrorCode.NOT_FOUND.value
    status = 400


class TraitNotFoundError(UnknownTraitError):
    """The address names a trait that is not loaded."""

    status = 404


class ModelNotFoundError(GatewayError):
    """The request names a model that is not served."""

    code = "model_not_found"
    status = 404


class UnauthenticatedError(GatewayError):
    """The request does not say who sends it, where that matters."""

    code = "unauthenticated"
    status = 401
    _more_headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class PermissionDeniedError(GatewayError):
    """Whoever sends the request may not do that."""

    code = "permission_denied"
    status = 403


class SteeringRefusedError(PermissionDeniedError):
    """The policy forbids whoever sends the request to steer like that."""


class ConflictError(GatewayError):
    """What is there stands in the way of the change."""

    code = "conflict"
    status = 409


class StorageError(GatewayError):
    """The folder of vectors cannot be changed."""

    code = "storage"


class StorageFullError(StorageError):
    """There is no room left for a file."""

    status = 507


class OverloadedError(GatewayError):
    """The waiting queue is full."""

    code = ErrorCode.RESOURCE_EXHAUSTED.value
    status = 429
    retry_after = 1


class RateLimitedError(GatewayError):
    """Whoever sends the request has spent its budget."""

    code = "rate_limited"
    status = 429

    def __init__(self, message: str, seconds: int, standing: Mapping[str, str]) -> None:
        super().__init__(message)
        self.retry_after = seconds
        self._more_headers = standing


class UnavailableError(GatewayError):
    """The model cannot answer now, but the same request can succeed later."""

    code = ErrorCode.UNAVAILABLE.value
    status = 503
    retry_after = 2


class ShutdownError(UnavailableError):
    """The gateway ends before the request does."""

    def __init__(self) -> None:
        super().__init__("the gateway is shutting down: try again soon")


class UnreachableError(UnavailableError):
    """There is no connection to Triton."""


class ModelNotLoadedError(UnavailableError):
    """Triton answers, but the model is not loaded (yet, or again)."""


class ModelDeadError(UnavailableError):
    """Triton answers, but the process behind a model is gone for good."""

    def __init__(self, model: str, detail: str = "") -> None:
        super().__init__("the model stopped working and is being restarted: try again soon", detail)
        self.model = model


class AccessRefusedError(UnavailableError):
    """Triton generates only for those who know a secret, and the gateway does not."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "the model server does not let this gateway in: set TRITON_ACCESS_KEY to what that "
            "Triton was started with",
            detail,
        )


class NotReadyError(UnavailableError):
    """The model did not pass its probe, for whatever reason."""


class DeadlineError(GatewayError):
    """The model took longer than it may."""

    code = "deadline_exceeded"
    status = 504


class LateStartError(DeadlineError):
    """The answer did not begin in the time that it had: the model has too much to do."""

    status = 503
    retry_after = 2


_BY_CODE: dict[str, type[GatewayError]] = {
    error.code: error
    for error in (InvalidRequestError, UnknownTraitError, OverloadedError, UnavailableError)
}

_INTERNAL_MESSAGE = "the model server failed on this request; the log of the gateway says more"
SILENT_MESSAGE = "the model does not answer: it is being looked after, try again soon"
UNREACHABLE_MESSAGE = "the model server cannot be reached: it is starting or down, try again soon"
NOT_LOADED_MESSAGE = "the model is not loaded yet: try again soon"


def error_of_response(code: str, message: str) -> GatewayError:
    """Makes an error of the `error_code` and `error` that a response carries."""
    if message.startswith(CONTEXT_LENGTH_WORDS):
        return ContextLengthError(message)
    return _BY_CODE.get(code, GatewayError)(message or _INTERNAL_MESSAGE)


def error_of_grpc(status: grpc.StatusCode | None, text: str) -> GatewayError:
    """Makes an error of what gRPC or Triton's stream reports.

    Args:
        status: The gRPC status; `None` for an error message inside a stream.
        text: The text that came with it, which is for the log: it may hold a stack trace or an
            address.
    """
    text = (text or "").strip()
    detail = f"{status.name if status else 'stream error'}: {text}"
    failure = failure_of(status, text)
    match failure.kind:
        case FailureKind.DEAD:
            return ModelDeadError(failure.model, detail)
        case FailureKind.NOT_LOADED:
            return ModelNotLoadedError(NOT_LOADED_MESSAGE, detail)
        case FailureKind.UNREACHABLE:
            return UnreachableError(UNREACHABLE_MESSAGE, detail)
        case FailureKind.LATE:
            return DeadlineError("the answer took too long", detail)
        case FailureKind.RESTRICTED:
            return AccessRefusedError(detail)
    return GatewayError(_INTERNAL_MESSAGE, detail)
