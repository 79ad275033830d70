"""Server-sent events over ASGI."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.errors import GatewayError, ShutdownError
from gateway.http.client_disconnect import ClientGoneError, run_until_disconnect

_HEARTBEAT = b": still here\n\n"


# Line ends to many a client's line splitter, though neither to JSON nor to server-sent events.
_OTHER_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\u0085\u2028\u2029"}


def format_event(name: str, data: Mapping[str, Any]) -> bytes:
    """Returns one event with a name."""
    return f"event: {name}\n".encode() + format_data(data)


def format_data(data: Mapping[str, Any]) -> bytes:
    """Returns one event; its data is one line, whatever the client takes for a line's end."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"data: {text.translate(_OTHER_LINE_ENDS)}\n\n".encode()


async def ending_in_words(
    events: AsyncGenerator[bytes, None], last_words: Callable[[GatewayError], bytes]
) -> AsyncGenerator[bytes, None]:
    """Yields events; an error after the first of them becomes the last one.

    Raises:
        GatewayError: The events failed before there was a first one.
    """
    begun = False
    try:
        async with aclosing(events):
            async for event in events:
                begun = True
                yield event
    except GatewayError as error:
        if not begun:
            raise
        yield last_words(error)


class EventStream(Response):
    """A response of events, which starts only once there is a first one.

    Until then an error that the events raise is an ordinary error with its own status. A client
    that goes away closes the events at once, also while they have nothing to say.

    Args:
        events: Formatted events; closed when the response ends, however it ends.
        heartbeat: After how many silent seconds to send a comment, which keeps proxies from
            cutting the connection; 0 sends none.
        last_words: Makes the last event of why they end early: an error, or the server's end.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        heartbeat: float,
        last_words: Callable[[GatewayError], bytes],
    ) -> None:
        self.status_code = 200
        self.background = None
        self._events = ending_in_words(events, last_words)
        self._interval = heartbeat
        self._last_words = last_words
        self._last_sent = 0.0
        self._started = False
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events.

        Raises:
            GatewayError: The events failed before there was a first one.
            ClientGoneError: The client went away before there was a first one.
        """
        try:
            await run_until_disconnect(receive, self._run(send))
        except ClientGoneError:
            if not self._started:
                raise
        except asyncio.CancelledError:
            if not self._started:
                raise
            await self._send(send, self._last_words(ShutdownError()))
            await self._end(send)

    async def _run(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            first = await anext(events, None)
            self._started = True
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            heart = asyncio.create_task(self._beat(send)) if self._interval else None
            try:
                if first is not None:
                    await self._send(send, first)
                async for event in events:
                    await self._send(send, event)
            finally:
                if heart is not None:
                    heart.cancel()
            await self._end(send)

    async def _send(self, send: Send, data: bytes) -> None:
        self._last_sent = time.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _end(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _beat(self, send: Send) -> None:
        # A task beside the events rather than a timeout around each: no cost per event.
        while True:
            await asyncio.sleep(max(0.01, self._last_sent + self._interval - time.monotonic()))
            if time.monotonic() - self._last_sent >= self._interval:
                await self._send(send, _HEARTBEAT)
