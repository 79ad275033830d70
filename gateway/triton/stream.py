"""One request on one gRPC stream.

Each request has a stream of its own, because cancelling a stream cancels every request on it. All
streams share a channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import grpc

from gateway.errors import DeadlineError, GatewayError, error_of_grpc
from triton_models.grpc_messages import TritonChunk, TritonFailedError, decode_response

_END_SECONDS = 1.0
"""How long the end of a stream may take after its last word."""

_CLOCKS_APART = 0.01
"""By how many seconds gRPC may find that time is over before the event loop does."""


class TritonStream:
    """Sends one request and reads its responses; `timeout` is in seconds, for all of them."""

    def __init__(
        self, stub: Any, request: Any, timeout: float, metadata: Sequence[tuple[str, str]] = ()
    ) -> None:
        self._request = request
        self._deadline = asyncio.get_running_loop().time() + timeout - _CLOCKS_APART
        self._call = stub.ModelStreamInfer(metadata=metadata, timeout=timeout)
        self._ended = False
        self._opener: asyncio.Task[Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether Triton has said its last word about the request."""
        return self._ended

    async def open(self) -> None:
        """Sends the request.

        Raises:
            GatewayError: Triton cannot be reached.
            asyncio.CancelledError: The stream was cancelled meanwhile.
        """
        self._opener = asyncio.current_task()
        try:
            await self._call.write(self._request)
            await self._call.done_writing()
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None
        except (asyncio.InvalidStateError, grpc.aio.BaseError):
            # The call ended while the request was being written: its status says why.
            raise self._failure_of(await self._call.code(), await self._call.details()) from None
        finally:
            self._opener = self._request = None

    async def read(self, timeout: float) -> TritonChunk | None:
        """Returns the next response, or `None` after the last.

        Cancelling this coroutine cancels the stream (gRPC's own rule), so readers that may be
        cancelled leave the reading to a task of its own.

        Raises:
            GatewayError: The request failed, or the response took longer than `timeout`.
        """
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self._call.cancel()

        # A timer costs a microsecond; `asyncio.wait_for` would cost a task per response.
        timer = asyncio.get_running_loop().call_later(timeout, expire)
        try:
            response = await self._call.read()
        except asyncio.CancelledError:
            if expired:
                raise DeadlineError(f"the model was silent for {timeout:g} s") from None
            raise
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None
        finally:
            timer.cancel()
        if response is grpc.aio.EOF:
            self._ended = True
            return None
        try:
            chunk = decode_response(response)
        except TritonFailedError as error:
            self._ended = True
            raise error_of_grpc(None, str(error)) from None
        self._ended = self._ended or chunk.final
        return chunk

    async def end(self) -> None:
        """Closes the stream: where Triton has said its last word, by reading on to its end.

        To cancel one that Triton is just ending makes work for it, and 2.51 does not always survive
        such races.
        """
        with suppress(GatewayError):
            while self._ended and not self._call.done():
                await self.read(_END_SECONDS)
        self.cancel()

    def cancel(self) -> None:
        """Closes the stream at once, unless Triton has closed it."""
        if not self._call.done():
            self._call.cancel()
        if self._opener is not None:
            # gRPC leaves a write for ever that waits for a call to begin which is cancelled.
            self._opener.cancel()

    def _failure(self, error: Any) -> GatewayError:
        return self._failure_of(error.code(), error.details())

    def _failure_of(self, status: grpc.StatusCode, text: str) -> GatewayError:
        # A request that is late while it is written fails with whatever the writing fails with.
        if asyncio.get_running_loop().time() >= self._deadline:
            status = grpc.StatusCode.DEADLINE_EXCEEDED
        # Past our own deadline the model may still be at work; any other status is its end.
        self._ended = status is not grpc.StatusCode.DEADLINE_EXCEEDED
        return error_of_grpc(status, text)
