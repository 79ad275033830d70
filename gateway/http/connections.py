"""Connections that no client can keep, or fill, for as long as it likes.

uvicorn on httptools keeps headers of any size, waits for ever for the rest of a request, and for
ever for a client that does not read. All of that happens before an application, or its middleware,
hears of a request, so it is bounded here, in the protocol.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import uuid
from functools import partial
from typing import Any, Literal, NoReturn

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.caller import plain_address
from gateway.http.error_body import ErrorResponse
from gateway.settings import Settings

_logger = logging.getLogger(__name__)

MAX_HEADERS = 128
"""Fields of a request's head; browsers behind several proxies send some 40."""

MAX_PIPELINED = 16
"""Requests that a connection may send before it has the answer to the first of them."""

BODY_BYTES_PER_SECOND = 16_384
"""How fast a body has to come once its first seconds are over."""

PROBES = frozenset({b"/health", b"/health/ready"})
"""What is answered over connections that are kept free for it."""

_PROBE_CONNECTIONS = 8
_LINGER_SECONDS = 5.0

RESERVED_DESCRIPTORS = 64
"""Descriptors of a process that are for files, model servers and Redis rather than clients."""


class OpenConnections:
    """The connections of a process: `most` at once, and a few for probes beside them.

    Those that are `waiting` for their client are in order, the one that has waited longest first.
    """

    def __init__(self, settings: Settings, most: int) -> None:
        self.settings = settings
        self.most = most
        self.waiting: dict[BoundedConnection, None] = {}


class BoundedConnection(HttpToolsProtocol):
    """A connection whose client has to send and to read.

    Beyond the most connections, a new one takes the place of the one that has waited longest for
    its client. If none waits for its client, it is one of a few that are there for probes only.
    """

    def __init__(self, shared: OpenConnections, **options: Any) -> None:
        super().__init__(**options)
        self._shared = shared
        self._settings = shared.settings
        self._reading: Literal["head", "body"] | None = None
        self._since = 0.0
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._refusal: _RefusalError | None = None
        self._for_probes = False
        self._head_bytes = 0
        self._head_fields = 0
        self._body_bytes = 0
        # Of whole reads of which nothing has come yet: the parser keeps them.
        self._held_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a request, or ends at once."""
        super().connection_made(transport)
        if self.client:
            # A proxy is trusted by its address, whichever family the socket has.
            self.client = (plain_address(self.client[0]), self.client[1])
        limit = self._shared.most
        if len(self.connections) > limit and self._shared.waiting:
            next(iter(self._shared.waiting))._end()
        self._for_probes = len(self.connections) > limit
        if len(self.connections) > limit + _PROBE_CONNECTIONS:
            self._end()
        else:
            self._wait_for("head", self._settings.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what waits for it."""
        super().connection_lost(exc)
        self._wait_for_nothing()
        self._cancel_unread()

    def data_received(self, data: bytes) -> None:
        """Reads what the client sends."""
        if self._reading is None:
            self._wait_for("head", self._settings.header_timeout)
        self._held_bytes += len(data)
        super().data_received(data)
        if self._held_bytes > self._settings.max_header_bytes and not self.transport.is_closing():
            self._answer(self._too_large())

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._head_bytes = self._head_fields = self._body_bytes = self._held_bytes = 0
        self._cancel_unread()
        if self._reading is None:
            self._wait_for("head", self._settings.header_timeout)

    def on_url(self, url: bytes) -> None:
        """Takes a piece of the address."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header, but none after the body."""
        if self._reading == "body":
            text = "headers after a body are not taken: send none"
            self._refuse(_RefusalError(400, "invalid_argument", text))
        self._head_fields += 1
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begins to answer the request, and to wait for its body."""
        if len(self.pipeline) >= MAX_PIPELINED:
            text = f"{MAX_PIPELINED} requests wait on this connection: read their answers first"
            self._refuse(_RefusalError(429, "resource_exhausted", text))
        self._held_bytes = 0
        is_probe = self.url.partition(b"?")[0] in PROBES
        self.app = _full if self._for_probes and not is_probe else self.config.loaded_app
        super().on_headers_complete()
        self._wait_for("body", self._settings.body_timeout)

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._held_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Has all of a request."""
        super().on_message_complete()
        self._held_bytes = 0
        self._wait_for_nothing()

    def on_response_complete(self) -> None:
        """Waits for the next request, or a little for the rest of a body that nobody wants."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._expect_to_be_read()
        if self._reading == "body":
            self._wait_for("body", _LINGER_SECONDS)
        elif not self.pipeline:
            self._shared.waiting[self] = None

    def pause_writing(self) -> None:
        """Holds back the answer until the client has read some of it, which it has to."""
        super().pause_writing()
        self._expect_to_be_read()

    def resume_writing(self) -> None:
        """Goes on with the answer."""
        super().resume_writing()
        self._cancel_unread()

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser, or one of the bounds above, refuses."""
        invalid = _RefusalError(400, "invalid_argument", "the request is not valid HTTP")
        self._answer(self._refusal or invalid)

    def _wait_for(self, what: Literal["head", "body"], seconds: float) -> None:
        self._wait_for_nothing()
        self._reading = what
        self._since = self.loop.time()
        self._late = self.loop.call_later(seconds, self._is_late)
        self._shared.waiting[self] = None

    def _wait_for_nothing(self) -> None:
        self._reading = None
        self._shared.waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _is_late(self) -> None:
        """Ends the connection, unless the time went by for another reason."""
        left = self._seconds_left()
        if left > 0:
            self._late = self.loop.call_later(left, self._is_late)
        elif self._has_nothing_to_answer():
            self._wait_for_nothing()
            self.transport.close()
            self._expect_to_be_read()
        else:
            text = f"the request took too long: send its {self._reading} in time"
            self._answer(_RefusalError(408, "deadline_exceeded", text))

    def _has_nothing_to_answer(self) -> bool:
        """Whether the client has its answer already, or has not begun to ask."""
        if self._reading == "body":
            return self.cycle.response_complete
        return not self._head_bytes and not self._held_bytes

    def _seconds_left(self) -> float:
        if self._reading == "head":
            # A request that comes early may take as long as the answer before it.
            return self._settings.header_timeout if self._is_answering() else 0.0
        if self.cycle.response_complete:
            return 0.0
        if self.flow.read_paused:
            self._since = self.loop.time()
        allowed = self._settings.body_timeout + self._body_bytes / BODY_BYTES_PER_SECOND
        return self._since + allowed - self.loop.time()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        too_many = self._head_fields > MAX_HEADERS
        if too_many or self._head_bytes > self._settings.max_header_bytes:
            self._refuse(self._too_large())

    def _too_large(self) -> _RefusalError:
        text = (
            "the request's headers are too large: send at most "
            f"{self._settings.max_header_bytes} bytes in {MAX_HEADERS} headers"
        )
        return _RefusalError(431, "too_large", text)

    def _refuse(self, refusal: _RefusalError) -> NoReturn:
        """Makes the parser stop; what it says of that comes to `send_400_response`."""
        self._refusal = refusal
        raise refusal

    def _answer(self, refusal: _RefusalError) -> None:
        """Answers a request that no application has seen, and ends the connection."""
        self._log("a connection is ended", reason=refusal.message)
        is_its_own = self._reading == "body" and not self.pipeline
        is_free = is_its_own and not self.cycle.response_started
        self._wait_for_nothing()
        if self._is_answering() and not is_free:
            # There is an answer on its way, into which no other one can be put.
            self._end()
            return
        head = STATUS_LINE[refusal.status] + (
            b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % len(refusal.body)
        )
        self.transport.write(head + refusal.body)
        self.transport.close()
        self._expect_to_be_read()

    def _expect_to_be_read(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self._settings.send_timeout, self._is_unread)

    def _cancel_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _is_unread(self) -> None:
        self._unread = None
        if self.transport.get_write_buffer_size():
            self._log("an answer is not read")
            self._end()

    def _log(self, event: str, **fields: str) -> None:
        _logger.info(event, extra={"client": self.client[0] if self.client else "", **fields})

    def _end(self) -> None:
        """Ends the connection now, whatever is still to be read or sent."""
        self._wait_for_nothing()
        self.connections.discard(self)
        self.transport.abort()


class _RefusalError(Exception):
    """A request that no application shall see."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        shown = ErrorResponse(error=message, code=code, request_id=uuid.uuid4().hex, detail=message)
        self.body = json.dumps(shown.model_dump()).encode()


async def _full(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers in the place of the application, whose connections are all in use."""
    text = "all connections of the gateway are in use (MAX_CONNECTIONS): try again soon"
    body = _RefusalError(503, "unavailable", text).body
    headers = {"Retry-After": "1", "Connection": "close"}
    await Response(body, 503, headers, "application/json")(scope, receive, send)


def connection_options(settings: Settings) -> dict[str, Any]:
    """Returns what makes uvicorn bound its connections, and keep them.

    As many descriptors are taken as the system allows, if that many are needed; if they are not
    there, so many fewer connections are.
    """
    wanted = settings.max_connections + _PROBE_CONNECTIONS + RESERVED_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    there_are = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    most = max(1, there_are - _PROBE_CONNECTIONS - RESERVED_DESCRIPTORS)
    # There are no websockets, whose connections would be none of these.
    return {
        "http": partial(BoundedConnection, OpenConnections(settings, most)),
        "ws": "none",
        "timeout_keep_alive": settings.keepalive_timeout,
    }
