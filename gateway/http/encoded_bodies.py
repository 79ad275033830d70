"""Bodies that clients compress."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.error_responses import error_response

_PLAIN = frozenset({"", "identity"})
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

_PIECE_BYTES = 65_536
"""At most so much is decoded at a time: a few bytes can stand for thousands times as many."""


class EncodedBodies:
    """Decodes bodies sent with `Content-Encoding: gzip`, and refuses other encodings.

    It yields small pieces, so that a limit of the application it wraps holds for the decoded bytes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        encoding = ", ".join(headers.getlist("content-encoding")).strip().lower()
        if encoding in _PLAIN:
            await self._app(scope, receive, send)
        elif encoding in _GZIP:
            told = (b"content-encoding", b"content-length")
            scope["headers"] = [header for header in scope["headers"] if header[0] not in told]
            await self._app(scope, _GzipBody(receive).receive, send)
        else:
            refusal = error_response(
                scope,
                415,
                "unsupported_media_type",
                f"Content-Encoding is {encoding[:60]!a}: send the body as it is, or as gzip",
                headers={"Accept-Encoding": "gzip, identity"},
            )
            await refusal(scope, receive, send)


class _GzipBody:
    """The channel of a request whose body is gzip, as if the body were not."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._decoder = zlib.decompressobj(_GZIP_WINDOW)
        self._pieces: Iterator[bytes] = iter(())
        self._is_received = False
        self._is_passed_on = False

    async def receive(self) -> Message:
        """Returns the next message.

        Raises:
            HTTPException: The body is not gzip.
        """
        while not self._is_passed_on:
            piece = next(self._pieces, None)
            if piece is not None:
                return {"type": "http.request", "body": piece, "more_body": True}
            if self._is_received:
                self._is_passed_on = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._is_received = not message.get("more_body")
            self._pieces = self._decoded(message.get("body", b""))
        return await self._receive()

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        piece = b""
        try:
            # What a full piece had no room for may be inside the decoder.
            while data or len(piece) == _PIECE_BYTES:
                piece = self._decoder.decompress(data, _PIECE_BYTES)
                data = self._decoder.unconsumed_tail
                if piece:
                    yield piece
        except zlib.error as error:
            raise HTTPException(
                400, f"the body is not gzip, as Content-Encoding says: {error}"
            ) from error
        if self._decoder.unused_data or (self._is_received and not self._decoder.eof):
            where = "goes on after" if self._decoder.eof else "ends before"
            raise HTTPException(400, f"the body {where} the end of its gzip data")
