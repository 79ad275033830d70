"""What happens to every request: an id, a bound on its body, one line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import ShutdownError
from gateway.responses import error_response

_logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET_PATHS = frozenset({"/health", "/health/ready"})


class RequestContext:
    """Gives each request an id and a log line, and answers what nobody else has caught.

    `request.state.request_id` is the client's own id if it sent a sane one. Handlers add to
    `request.state.log_fields` what the line should say.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        fields: dict[str, Any] = {}
        scope.setdefault("state", {}).update(request_id=request_id, log_fields=fields)
        started = time.monotonic()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except (Exception, asyncio.CancelledError) as problem:
            if status:
                raise  # too late for a status: the server cuts the connection
            response = _last_resort(problem, request_id)
            await response(scope, receive, send_with_id)
        finally:
            _log(scope, status, time.monotonic() - started, request_id, fields)


def _last_resort(problem: BaseException, request_id: str) -> Response:
    """Returns the answer to a request whose handler has been cancelled or has failed."""
    if isinstance(problem, asyncio.CancelledError):
        # The server's patience with open requests is over: only a shutdown cancels handlers.
        error = ShutdownError()
        return error_response(
            error.status, error.code, error.message, request_id, headers=error.headers
        )
    _logger.error("a request failed", exc_info=problem, extra={"request_id": request_id})
    return error_response(500, "internal", "the gateway failed", request_id)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _log(
    scope: Scope, status: int, seconds: float, request_id: str, fields: dict[str, Any]
) -> None:
    if status >= 500:
        level = logging.WARNING
    elif scope["path"] in _QUIET_PATHS:
        level = logging.DEBUG
    else:
        level = logging.INFO
    extra = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "ms": round(seconds * 1000, 1),
        "request_id": request_id,
        **fields,
    }
    _logger.log(level, "request", extra=extra)


class BodyLimit:
    """Refuses bodies that are too large, announced or not, before they are held in memory."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        message = f"the body is too large: send at most {self._max_bytes} bytes"
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bytes:
            request_id = scope["state"]["request_id"]
            await error_response(413, "too_large", message, request_id)(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, message)
            return part

        await self._app(scope, receive_within_limit, send)
