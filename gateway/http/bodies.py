"""JSON bodies, bounded before and while they are parsed.

Parsing holds the event loop, and so does validating what it gives: both take a time that grows with
the values of a body rather than with its bytes. A megabyte of `{},` is 350,000 objects, each with
errors of its own, while a megabyte of text is one value.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from triton_models.json_values import exceeds

MAX_FIELDS = 1000
"""The most fields of an object, of whatever kind; OpenAI's requests have about 40."""

_DIGITS = 400
"""Of an integer: more than the largest float's, and to read thousands takes long."""

_CHATS = ("messages", "input")
"""Fields that hold a chat."""

_VECTORS = b'"vectors"'
"""The name of the field for whose sake a body may be larger than others."""

_VALUES = 20_000
_VALUES_PER_MESSAGE = 10


class BodyTooLargeError(HTTPException):
    """A body is too large.

    Args:
        most: How many bytes it may have.
    """

    def __init__(self, most: int) -> None:
        super().__init__(413, f"the body is too large: send at most {most} bytes")


def parse_body(content: bytes, max_messages: int) -> Any:
    """Returns what a body says.

    Raises:
        json.JSONDecodeError: It is not JSON.
        HTTPException: It is too much of it, or says what cannot be held (422).
    """
    try:
        text = content.decode()
        most = _VALUES + _VALUES_PER_MESSAGE * max_messages
        if exceeds(text, ",[{", most):
            raise _refusal(f"has too many values: send at most {most} in all")
        document = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError as error:
        raise _refusal(f"is not UTF-8, at byte {error.start}") from error
    except RecursionError as error:
        raise _refusal("is nested too deeply") from error
    for name in _CHATS if isinstance(document, dict) else ():
        messages = document.get(name)
        if isinstance(messages, list) and len(messages) > max_messages:
            raise HTTPException(
                422, f"{name} has {len(messages)} messages: send at most {max_messages}"
            )
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_FIELDS:
        raise _refusal(
            f"has an object of {len(pairs)} fields: none may have more than {MAX_FIELDS}"
        )
    return dict(pairs)


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise _refusal(f"has an integer of {len(text)} digits: none may have more than {_DIGITS}")
    return int(text)


def _refusal(what: str) -> HTTPException:
    return HTTPException(422, f"the body {what}")


class BoundedRequest(Request):
    """A request whose JSON is bounded."""

    async def body(self) -> bytes:
        """Returns the body.

        Raises:
            HTTPException: It is too large.
        """
        content = await super().body()
        if _VECTORS not in content:
            self._check_size(content)
        return content

    async def json(self) -> Any:
        """Returns what the body says.

        Raises:
            json.JSONDecodeError: It is not JSON.
            HTTPException: It is too large, in one sense or another.
        """
        content = await self.body()
        if len(content) > self._max_bytes:
            # It has vectors, so that it may be many times as large as others.
            return await asyncio.to_thread(self._parsed, content)
        return self._parsed(content)

    @property
    def _max_bytes(self) -> int:
        most: int = self.app.state.gateway.settings.max_body_bytes
        return most

    def _parsed(self, content: bytes) -> Any:
        return parse_body(content, self.app.state.gateway.settings.max_messages)

    def _check_size(self, content: bytes) -> None:
        if len(content) > self._max_bytes:
            raise BodyTooLargeError(self._max_bytes)


class BoundedRoute(APIRoute):
    """A route that takes bounded bodies."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns what answers its requests."""
        answer = super().get_route_handler()

        async def answer_bounded(request: Request) -> Response:
            return await answer(self.bounded(request))

        return answer_bounded

    def bounded(self, request: Request) -> BoundedRequest:
        """Returns a request with bounds."""
        return BoundedRequest(request.scope, request.receive, request._send)
