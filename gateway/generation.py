"""A generation in progress: read to its end, or stopped in the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from gateway.errors import GatewayError, ShutdownError, UnavailableError, error_of_response
from gateway.triton_stream import TritonStream
from gateway.triton_wire import Chunk

_logger = logging.getLogger(__name__)

_STOP_INTERVAL = 0.05
_STOP_PATIENCE = 5.0


class Engine(Protocol):
    """What a generation needs of whoever started it."""

    async def stop(self, request_id: str) -> bool:
        """Stops a request in the engine; says whether it was found there."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine to its end in the background."""

    def opened(self, generation: Generation) -> None:
        """Notes that a generation has begun."""

    def closed(self, generation: Generation) -> None:
        """Notes that nobody reads a generation any more."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How many seconds the first response, each later one, and all of them may take."""

    first: float
    between: float
    total: float


class Generation:
    """The pieces of one answer, as an asynchronous iterator and context manager.

    A task of its own reads the stream, so that whoever iterates can be cancelled without losing
    the stream: leaving the context before the end stops the request in the engine in the
    background. Pieces that arrive while nobody is waiting are joined, so a slow reader gets fewer
    and longer pieces, and holds no more memory than the answer's text.

    Args:
        request_id: The request's id in Triton.
        stream: The stream with the request.
        deadlines: How long to wait for responses.
        engine: Where the request can be stopped.
    """

    def __init__(
        self, request_id: str, stream: TritonStream, deadlines: Deadlines, engine: Engine
    ) -> None:
        self.request_id = request_id
        self._stream = stream
        self._deadlines = deadlines
        self._engine = engine
        self._pending: Chunk | None = None
        self._failure: GatewayError | None = None
        self._news = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Generation:
        self._engine.opened(self)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._engine.closed(self)
        if self._stream.ended:
            return
        if isinstance(self._failure, UnavailableError):
            # There is no engine to stop it in, and asking a dead one takes a second each time.
            self._stream.cancel()
        else:
            self._engine.spawn(self._abandon())

    def fail(self, error: GatewayError) -> None:
        """Ends the generation for its reader with an error that another part of us found."""
        if self._failure is None:
            self._failure = error
            self._news.set()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Yields the pieces; the last one has a `finish_reason`.

        Raises:
            GatewayError: The request failed.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            chunk, self._pending = self._pending, None
            if chunk is not None:
                if chunk.finish_reason == "error":
                    raise error_of_response(chunk.error_code, chunk.error)
                if chunk.finish_reason == "cancelled":
                    # Only we stop requests, and then nobody reads any more.
                    raise UnavailableError("the server stopped the generation: try again")
                yield chunk
                if chunk.finish_reason:
                    return
            if self._failure is not None:
                raise self._failure

    async def _read(self) -> None:
        try:
            await self._stream.open()
            timeout = self._deadlines.first
            while (chunk := await self._stream.read(timeout)) is not None:
                timeout = self._deadlines.between
                self._pending = self._pending.followed_by(chunk) if self._pending else chunk
                self._news.set()
            self.fail(GatewayError("the model server ended the answer early"))
        except GatewayError as error:
            self.fail(error)
        except asyncio.CancelledError:
            self.fail(ShutdownError())
        except Exception as error:
            _logger.exception("reading a stream failed")
            self.fail(GatewayError("the gateway failed on this request", repr(error)))

    async def _abandon(self) -> None:
        """Stops the request in the engine, then closes its stream.

        The request may not have reached the engine yet, and with several GPUs Triton may have
        asked the engine of another one, so it is asked for until it is found, its stream has ended
        or patience has.
        """
        assert self._reader is not None
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _STOP_PATIENCE
        found = False
        try:
            while not found and not self._stream.ended and loop.time() < give_up:
                found = await self._engine.stop(self.request_id)
                if not found:
                    await asyncio.sleep(_STOP_INTERVAL)
            if not self._reader.done():
                await asyncio.wait({self._reader}, timeout=max(0.0, give_up - loop.time()))
        except GatewayError as error:
            _logger.warning("could not stop a generation", extra={"reason": error.detail})
        finally:
            self._stream.cancel()
