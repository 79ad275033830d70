"""What every request gets: an id, careful headers, a bound on its body, a record of its outcome."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import ShutdownError
from gateway.http.bodies import BodyTooLargeError
from gateway.http.error_responses import error_response, gateway_error_response
from gateway.http.security_headers import SECURITY_HEADERS
from gateway.request_record import Observer, RequestRecord, current_request

_logger = logging.getLogger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"

_SANE_ID = re.compile(r"[!#-\[\]-~]{1,128}")
"""Visible ASCII but for the quotation mark and the backslash, which logs would have to escape."""


class RequestContext:
    """Gives each request an id, answers what nobody else has caught, and tells the observers.

    `request.state.request_id` is the client's own id if it sent a sane one. Handlers add to
    `request.state.log_fields` what the log should say. Generations find the request's record by
    `current_request`.
    """

    def __init__(self, app: ASGIApp, observers: Sequence[Observer] = ()) -> None:
        self._app = app
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(_request_id(scope), scope)
        scope.setdefault("state", {}).update(request_id=record.id, log_fields=record.log_fields)
        current_request.set(record)
        for observer in self._observers:
            observer.request_began(record)
        try:
            await self._serve(record, receive, send)
        finally:
            record.seconds = time.monotonic() - record.started
            for observer in self._observers:
                observer.request_ended(record)

    async def _serve(self, record: RequestRecord, receive: Receive, send: Send) -> None:
        complete = False

        async def send_with_headers(message: Message) -> None:
            nonlocal complete
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID_HEADER] = record.id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        async def receive_and_note() -> Message:
            message = await receive()
            # Servers say so after a complete answer too.
            record.disconnected |= message["type"] == "http.disconnect" and not complete
            return message

        try:
            await self._app(record.scope, receive_and_note, send_with_headers)
        except (Exception, asyncio.CancelledError) as problem:
            if record.status:
                record.broken = True
                raise  # too late for a status: the server cuts the connection
            response = _last_resort(problem, record.scope)
            await response(record.scope, receive_and_note, send_with_headers)


def _last_resort(problem: BaseException, scope: Scope) -> Response:
    """Returns the answer to a request whose handler has been cancelled or has failed."""
    if isinstance(problem, asyncio.CancelledError):
        # The server's patience with open requests is over: only a shutdown cancels handlers.
        return gateway_error_response(scope, ShutdownError())
    request_id = scope["state"]["request_id"]
    _logger.error("a request failed", exc_info=problem, extra={"request_id": request_id})
    return error_response(scope, 500, "internal", "the gateway failed")


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class BodyLimit:
    """Refuses bodies that are too large, announced or not, before they are held in memory."""

    def __init__(self, app: ASGIApp, limit_of: Callable[[Scope], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope)
        refusal = BodyTooLargeError(limit)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            response = error_response(scope, refusal.status_code, "too_large", refusal.detail)
            await response(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > limit:
                raise refusal
            return part

        await self._app(scope, receive_within_limit, send)
