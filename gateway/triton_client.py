"""What the gateway asks of Triton."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Coroutine
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from gateway.errors import GatewayError, error_of_response
from gateway.generation import Deadlines, Generation
from gateway.triton_stream import TritonStream
from gateway.triton_wire import Chunk, Values, encode_request
from triton_models import tensors

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A gateway must find a restarted server within seconds; the default grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Triton is a neighbour: a proxy meant for the outside world would not find it.
    ("grpc.enable_http_proxy", 0),
)

_ASK_TIMEOUT = 5.0
_CLOSE_PATIENCE = 3.0


class TritonClient:
    """A channel to one Triton server. Made inside a running event loop, closed with `close`.

    Attributes:
        stub: Triton's gRPC calls.

    Args:
        url: Host and port of Triton's gRPC endpoint.
        deadlines: How long generations may take.
    """

    def __init__(self, url: str, deadlines: Deadlines) -> None:
        self._channel = grpc.aio.insecure_channel(url, options=_CHANNEL_OPTIONS)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._deadlines = deadlines
        self._open: set[Generation] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._outage: GatewayError | None = None

    async def close(self) -> None:
        """Waits a little for generations that are being stopped, then closes the channel."""
        if self._background:
            await asyncio.wait(set(self._background), timeout=_CLOSE_PATIENCE)
        await self._channel.close(grace=0)

    def generate(self, values: Values) -> Generation:
        """Prepares a generation of the `persona` ensemble; entering its context starts it.

        Raises:
            GatewayError: The model is known to be down.
        """
        if self._outage is not None:
            raise self._outage.with_traceback(None)
        streamed = bool(values.get("stream", (False,))[0])
        deadlines = self._deadlines
        if not streamed:
            # The first response is the whole answer.
            deadlines = Deadlines(deadlines.total, deadlines.total, deadlines.total)
        request_id = uuid.uuid4().hex
        request = encode_request(tensors.PERSONA, request_id, values)
        stream = TritonStream(self.stub, request, deadlines.total)
        return Generation(request_id, stream, deadlines, self)

    async def describe(self, timeout: float = _ASK_TIMEOUT) -> dict[str, Any]:
        """Returns what the model says about itself, its traits and its engine.

        Args:
            timeout: How many seconds it may take.

        Raises:
            GatewayError: The model cannot be asked.
        """
        chunk = await self.ask(
            tensors.STEERED_QWEN, uuid.uuid4().hex, {tensors.DESCRIBE.name: [True]}, timeout
        )
        if chunk.finish_reason == "error":
            raise error_of_response(chunk.error_code, chunk.error)
        try:
            description: dict[str, Any] = json.loads(chunk.description)
        except ValueError as error:
            raise GatewayError("the model's description is not JSON", repr(error)) from error
        return description

    async def stop(self, request_id: str) -> bool:
        """Stops a request in the engine; says whether it was found there.

        Raises:
            GatewayError: The engine cannot be asked.
        """
        chunk = await self.ask(
            tensors.STEERED_QWEN, request_id, {tensors.STOP.name: [True]}, _ASK_TIMEOUT
        )
        return chunk.finish_reason == "cancelled"

    def refuse(self, error: GatewayError) -> None:
        """Ends open generations with an error, and refuses new ones with it until `accept`.

        What is open on a dead model may never be answered, and what is sent to it hangs as well.
        """
        self._outage = error
        for generation in tuple(self._open):
            generation.fail(error)

    def accept(self) -> None:
        """Takes generations (again)."""
        self._outage = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine to its end in the background; `close` waits for it a little."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def opened(self, generation: Generation) -> None:
        """Notes that a generation has begun."""
        self._open.add(generation)

    def closed(self, generation: Generation) -> None:
        """Notes that nobody reads a generation any more."""
        self._open.discard(generation)

    async def ask(self, model: str, request_id: str, values: Values, timeout: float) -> Chunk:
        """Returns the one response to a request.

        Args:
            model: One of `tensors.MODELS`.
            request_id: The request's id.
            values: Its inputs.
            timeout: How many seconds it may take.

        Raises:
            GatewayError: There is none.
        """
        stream = TritonStream(self.stub, encode_request(model, request_id, values), timeout)
        try:
            await stream.open()
            answer = Chunk()
            while (chunk := await stream.read(timeout)) is not None:
                answer = answer.followed_by(chunk)
            return answer
        finally:
            stream.cancel()
