"""Why a call failed."""

from __future__ import annotations


class PersonaError(Exception):
    """A call failed.

    Attributes:
        message: What went wrong.
        status: The HTTP status, if there was a response with one.
        code: The server's word for it, or `""`.
        transient: Whether the same call can succeed soon.
        retry_after: After how many seconds the server suggests to try again, if it said so.
    """

    transient: bool = False
    retry_after: float | None = None

    def __init__(self, message: str, *, status: int | None = None, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code


class ConnectionFailedError(PersonaError):
    """The server cannot be reached, or the connection broke before the answer was complete."""


class InvalidRequestError(PersonaError):
    """The server refused a value of the request, or the name of a trait."""


class NotFoundError(PersonaError):
    """The server does not have what the address names."""


class NotAllowedError(PersonaError):
    """The call needs an API key that the gateway knows, or one that may do more."""


class OverloadedError(PersonaError):
    """The server is full: the same request can succeed later."""

    transient = True


class UnavailableError(PersonaError):
    """The model is starting or being restarted: the same request can succeed later."""

    transient = True


class ServerError(PersonaError):
    """The server failed on the request."""


_BY_STATUS: dict[int, type[PersonaError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    429: OverloadedError,
    503: UnavailableError,
}

_BY_CODE: dict[str, type[PersonaError]] = {
    "invalid_argument": InvalidRequestError,
    "not_found": InvalidRequestError,
    "resource_exhausted": OverloadedError,
    "unavailable": UnavailableError,
}


def error_of_status(
    status: int, message: str, code: str = "", retry_after: str | None = None
) -> PersonaError:
    """Makes an error of a response's status."""
    kind = _BY_STATUS.get(status, InvalidRequestError if status < 500 else ServerError)
    error = kind(message, status=status, code=code)
    if retry_after and retry_after.isdecimal():
        error.retry_after = float(retry_after)
    return error


def error_of_code(code: str, message: str) -> PersonaError:
    """Makes an error of a code that came inside an answer."""
    return _BY_CODE.get(code, ServerError)(message, code=code)
