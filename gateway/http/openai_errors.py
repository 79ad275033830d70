"""Errors in the shape that clients of OpenAI's API read."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, Field

PREFIX = "/v1"

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_PLACE = re.compile(r"[A-Za-z_]\w*(?:\.\w+|\[\d+\])*")


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str = Field(description="What was wrong and what would be right.")
    type: str = Field(description="OpenAI's name for the kind of error.")
    param: str | None = Field(description="The field that was wrong, if it was one.")
    code: str


class ErrorBody(BaseModel):
    """The body of every status from 400 on."""

    error: ErrorInfo


FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request has to be changed, or (429) to wait."},
    "5XX": {"model": ErrorBody, "description": "The model failed, or is not there at the moment."},
}
"""How calls can fail, for their documentation."""


def is_openai_path(path: str) -> bool:
    """Whether who calls an address expects OpenAI's API."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def error_body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """Returns the body, or a stream's last event, for an error."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    info = ErrorInfo(message=message, type=kind, param=param, code=code)
    return ErrorBody(error=info).model_dump()


def named_field(message: str, fields: Collection[str]) -> str | None:
    """Returns the field that a message begins with, as all do that are about one.

    Args:
        message: The message, such as `messages[1] is a system message: ...`.
        fields: The fields that the request's body can have.
    """
    place = _PLACE.match(message)
    if place is None or re.split(r"[.\[]", place[0])[0] not in fields:
        return None
    return place[0]
