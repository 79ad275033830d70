"""A generation in progress: read to its end, or stopped in the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.errors import (
    DeadlineError,
    GatewayError,
    LateStartError,
    OverloadedError,
    ShutdownError,
    UnavailableError,
    error_of_response,
)
from gateway.generation.observed_generation import ObservedGeneration
from gateway.triton.server import Attempt, TritonServer
from triton_models.grpc_messages import TritonChunk

if TYPE_CHECKING:
    from gateway.generation.dispatcher import Dispatcher

_logger = logging.getLogger(__name__)

_STOP_INTERVAL = 0.05
_MAX_STOP_INTERVAL = 1.0
_STOP_PATIENCE = 60.0
_END_PATIENCE = 5.0

MAX_ATTEMPTS = 3
"""On how many servers a request is tried: what fails on so many fails for a reason of its own."""

_FAILS_ELSEWHERE = (UnavailableError, OverloadedError)
"""What another server may do better."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How many seconds the first response, each one after another, and all of them may take.

    The first response of an answer that is not streamed is all of it.
    """

    first: float
    between: float
    total: float
    streamed: bool = True


class Generation:
    """The pieces of one answer, as an asynchronous iterator and context manager.

    A task of its own reads the stream, so that whoever iterates can be cancelled without losing
    the stream: leaving the context before the end stops the request in the engine in the
    background. Pieces that arrive while nobody is waiting are joined, so a slow reader gets fewer
    and longer pieces, and holds no more memory than the answer's text.

    A request that a server fails before the first piece is sent to another one: nobody has seen
    anything of the answer, so that a sampled one may well be a different one. After that it is not.

    `answer` is all that has been read, as one piece.
    """

    def __init__(
        self,
        request_id: str,
        request: Any,
        sender: Dispatcher,
        deadlines: Deadlines,
        watch: ObservedGeneration,
    ) -> None:
        self.request_id = request_id
        self.answer = TritonChunk()
        self._request = request
        self._sender = sender
        self._deadlines = deadlines
        self._watch = watch
        self._began_at = 0.0
        self._tried: list[TritonServer] = []
        self._has_pieces = False
        self._has_ended = False
        self._has_left = False
        self._pending: TritonChunk | None = None
        self._failure: GatewayError | None = None
        self._news = asyncio.Event()
        self._attempt: Attempt
        self._reader: asyncio.Task[None]

    async def __aenter__(self) -> Generation:
        self._sender.enter(self)
        self._watch.began()
        self._began_at = asyncio.get_running_loop().time()
        try:
            self._attempt = self._send((), self._deadlines.total)
        except GatewayError as error:
            self._sender.leave(self)
            self._watch.ended(error)
            raise
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._has_left = True
        attempt = self._attempt
        self._give_up_place(attempt)
        self._watch.ended(error)
        if attempt.stream.ended:
            return
        if isinstance(self._failure, UnavailableError):
            # There is no engine to stop it in, and asking a dead one takes a second each time.
            attempt.stream.cancel()
        else:
            self._sender.spawn(self._abandon(attempt))

    async def __aiter__(self) -> AsyncIterator[TritonChunk]:
        """Yields the pieces; the last one has a `finish_reason`.

        Raises:
            GatewayError: The request failed.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            chunk, self._pending = self._pending, None
            if chunk is not None:
                self.answer = self.answer.followed_by(chunk)
                yield chunk
                if chunk.finish_reason:
                    return
            if self._failure is not None:
                raise self._failure

    async def _read(self) -> None:
        try:
            while (error := await self._read_attempt()) is not None:
                if not self._is_sent_again(error):
                    self._fail(error)
                    await self._attempt.stream.end()
                    return
        except asyncio.CancelledError:
            self._fail(ShutdownError())
        except Exception as error:
            _logger.exception("reading a stream failed")
            self._fail(GatewayError("the gateway failed on this request", repr(error)))
        finally:
            # Whoever reads the answer may take long over it, or never come back.
            self._give_up_place(self._attempt)

    def _give_up_place(self, attempt: Attempt) -> None:
        """Lets another generation have the place of one that has ended, or is not wanted."""
        self._sender.leave(self)
        attempt.server.closed(attempt)

    async def _read_attempt(self) -> GatewayError | None:
        """Reads an attempt's responses to their end; returns why it failed, if it did."""
        attempt = self._attempt
        try:
            await attempt.stream.open()
            while (chunk := await attempt.stream.read(self._patience())) is not None:
                self._take(chunk)
            if self._has_ended:
                return None
            raise GatewayError("the model server ended the answer early")
        except asyncio.CancelledError:
            if attempt.interruption is None:
                raise
            return attempt.interruption
        except DeadlineError as error:
            return attempt.interruption or self._explained(error)
        except GatewayError as error:
            return attempt.interruption or error

    def _take(self, chunk: TritonChunk) -> None:
        """Keeps a piece for the reader.

        Raises:
            GatewayError: It says that the request failed.
        """
        failed = chunk.finish_reason in ("error", "cancelled")
        # An attempt that fails before its first piece may not have been the last, unless nobody is
        # there any more: what it generated for whoever has gone counts.
        if self._has_pieces or self._has_left or not failed:
            self._watch.received(chunk)
        if chunk.finish_reason == "error":
            raise error_of_response(chunk.error_code, chunk.error)
        if failed:
            # Only we stop requests, and then nobody reads any more.
            raise UnavailableError("the server stopped the generation: try again")
        self._has_pieces = True
        self._request = None  # which is not sent again, and may be megabytes
        self._has_ended = bool(chunk.finish_reason)
        self._pending = self._pending.followed_by(chunk) if self._pending else chunk
        self._news.set()

    def _is_sent_again(self, error: GatewayError) -> bool:
        """Sends the request to another server if that can help, and says whether it could."""
        attempt = self._attempt
        attempt.server.failed(error)
        attempt.server.closed(attempt)
        if self._has_pieces or self._has_left or not isinstance(error, _FAILS_ELSEWHERE):
            return False
        timeout = self._deadlines.total - self._age()
        if timeout <= 0 or len(self._tried) >= MAX_ATTEMPTS - 1:
            return False
        self._tried.append(attempt.server)
        try:
            self._attempt = self._send(self._tried, timeout)
        except GatewayError:
            return False  # what went wrong first says more
        self._sender.spawn(attempt.stream.end())
        self._sender.sent_again(self.request_id, error)
        return True

    def _send(self, tried: Sequence[TritonServer], timeout: float) -> Attempt:
        return self._sender.send(self.request_id, self._request, tried, timeout)

    def _patience(self) -> float:
        if self._has_pieces:
            return self._deadlines.between
        return max(0.001, self._deadlines.first - self._age())

    def _age(self) -> float:
        return asyncio.get_running_loop().time() - self._began_at

    def _explained(self, error: DeadlineError) -> DeadlineError:
        """Returns what silence means: it may be the engine's queue, or an end that takes long."""
        detail = error.detail or error.message
        limits = self._deadlines
        if not self._has_pieces and limits.streamed:
            return LateStartError(
                f"the answer did not begin within {_shown(limits.first)}: the model is too busy",
                detail,
            )
        if self._age() >= limits.total - 0.01:
            return DeadlineError(f"the answer took longer than {_shown(limits.total)}", detail)
        return error

    def _fail(self, error: GatewayError) -> None:
        if self._failure is None:
            self._sender.advise(error)
            self._failure = error
            self._news.set()

    async def _abandon(self, attempt: Attempt) -> None:
        """Stops the request in the engine, then closes its stream.

        The request may not have reached the engine yet, and with several GPUs Triton may have
        asked the engine of another one, so it is asked for until it is found, its stream has ended
        or patience has: under overload it may be on its way for longer than a client would wait.
        """
        interval = _STOP_INTERVAL
        give_up = self._age() + _STOP_PATIENCE
        try:
            while not attempt.stream.ended and self._age() < give_up:
                if await self._is_stopped(attempt):
                    await asyncio.wait({self._reader}, timeout=_END_PATIENCE)
                    return
                await asyncio.sleep(interval)
                # Many at once would be a load of their own on an engine that has too much to do.
                interval = min(2 * interval, _MAX_STOP_INTERVAL)
        except GatewayError as error:
            reason = error.detail or error.message
            _logger.warning("could not stop a generation", extra={"reason": reason})
        finally:
            attempt.stream.cancel()

    async def _is_stopped(self, attempt: Attempt) -> bool:
        try:
            return await attempt.stop()
        except DeadlineError:
            return False  # it is busy, which is no reason to let the request run


def _shown(seconds: float) -> str:
    return f"{round(seconds, 1):g} s" if seconds >= 1 else f"{seconds:.1g} s"
