"""One Triton server, as the gateway uses it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway.errors import (
    GatewayError,
    ModelDeadError,
    ModelNotLoadedError,
    UnknownTraitError,
    UnreachableError,
    error_of_grpc,
    error_of_response,
)
from gateway.observability.metrics import GatewayMetrics
from gateway.triton.stream import TritonStream
from triton_models import control
from triton_models.contract import tensors
from triton_models.contract.tensors import Values
from triton_models.grpc_messages import TritonChunk, encode_request
from triton_models.signs_of_life import ENGINE_QUESTION, STEP_QUESTIONS

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A gateway must find a restarted server within seconds; the default grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Triton is a neighbour: a proxy meant for the outside world would not find it.
    ("grpc.enable_http_proxy", 0),
)

ASK_TIMEOUT = 5.0

_DOUBT_SECONDS = 2.0
"""How long a failure counts: until somebody has looked, or, if nobody does, for a try."""

_SIGNS_OF_DEATH = (ModelDeadError, ModelNotLoadedError, UnreachableError)


class Attempt:
    """A generation as one server has it; an `interruption` says why we have ended it."""

    def __init__(self, request_id: str, stream: TritonStream, server: TritonServer) -> None:
        self._request_id = request_id
        self.stream = stream
        self.server = server
        self.interruption: GatewayError | None = None

    def interrupt(self, error: GatewayError) -> None:
        """Ends it for its reader with an error that another part of us found."""
        self.interruption = error
        self.stream.cancel()

    async def stop(self) -> bool:
        """Stops it in its engine; says whether it was found there."""
        return await self.server.stop(self._request_id)


class TritonServer:
    """A channel to a Triton server, and what is known of it. Made inside a running event loop.

    Timeouts are in seconds, of all that a call may take.

    Attributes:
        suspicion: Set when a request has failed as if the model were dead.
        at_work: Whether its models answered when they were last looked at.
        outage: Why it is known not to work, if it is.
    """

    def __init__(self, address: str, metrics: GatewayMetrics, access_key: str = "") -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.suspicion = asyncio.Event()
        self.at_work = False
        self._metrics = metrics
        self._access = control.access_metadata(access_key)
        self._open: set[Attempt] = set()
        self.outage: GatewayError | None = None
        self._doubted_at: float | None = None

    @property
    def refuses(self) -> bool:
        """Whether it is known not to work."""
        return self.outage is not None

    @property
    def doubtful(self) -> bool:
        """Whether it has failed a request a moment ago, as if its model were dead."""
        return self._doubted_at is not None and time.monotonic() - self._doubted_at < _DOUBT_SECONDS

    @property
    def open_requests(self) -> int:
        """How many of our generations it has."""
        return len(self._open)

    def send(self, request_id: str, request: Any, timeout: float) -> Attempt:
        """Starts a generation."""
        stream = TritonStream(self.stub, request, timeout, self._access)
        attempt = Attempt(request_id, stream, self)
        self._open.add(attempt)
        return attempt

    def closed(self, attempt: Attempt) -> None:
        """Notes that an attempt has ended, or that nobody reads it; perhaps again."""
        self._open.discard(attempt)

    def failed(self, error: GatewayError) -> None:
        """Notes a failure; one that looks like death makes others preferred, and the watch look."""
        if isinstance(error, _SIGNS_OF_DEATH):
            self._doubted_at = time.monotonic()
            self.suspicion.set()

    def refuse(self, error: GatewayError) -> None:
        """Lets new generations go elsewhere, or fail with the error, until `accept`."""
        self.outage = error

    def give_up(self, error: GatewayError) -> None:
        """Refuses, and ends open generations too: on a dead model they may hang for ever."""
        self.refuse(error)
        for attempt in tuple(self._open):
            attempt.interrupt(error)

    def accept(self) -> None:
        """Takes generations (again)."""
        self.outage = None
        self._doubted_at = None

    async def ask(self, model: str, request_id: str, values: Values, timeout: float) -> TritonChunk:
        """Returns the one response to a request.

        Raises:
            GatewayError: There is none, or it is a refusal.
        """
        request = encode_request(model, request_id, values)
        stream = TritonStream(self.stub, request, timeout, self._access)
        try:
            await stream.open()
            answer = TritonChunk()
            while (chunk := await stream.read(timeout)) is not None:
                answer = answer.followed_by(chunk)
        except GatewayError as error:
            self._metrics.triton_failed("ask", error)
            raise
        finally:
            await stream.end()
        if answer.finish_reason == "error":
            raise error_of_response(answer.error_code, answer.error)
        return answer

    async def describe(self, timeout: float = ASK_TIMEOUT) -> dict[str, Any]:
        """Returns what the model says about itself, its traits and its engine.

        Raises:
            GatewayError: The model cannot be asked.
        """
        chunk = await self.ask(tensors.STEERED_QWEN, uuid.uuid4().hex, ENGINE_QUESTION, timeout)
        try:
            description: dict[str, Any] = json.loads(chunk.description)
        except ValueError as error:
            raise GatewayError("the model's description is not JSON", repr(error)) from error
        return description

    async def tokenize(self, values: Values) -> list[int]:
        """Returns the tokens of a prompt.

        Args:
            values: The ensemble's inputs that say what the prompt is.

        Raises:
            GatewayError: The prompt is refused, or the tokenizer cannot be asked.
        """
        chunk = await self.ask(tensors.TOKENIZER, uuid.uuid4().hex, values, ASK_TIMEOUT)
        return list(chunk.token_ids)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """Returns the text of tokens, with the names of special ones.

        Raises:
            GatewayError: The detokenizer cannot be asked.
        """
        values = {**STEP_QUESTIONS[tensors.DETOKENIZER], "echo_ids": token_ids}
        chunk = await self.ask(tensors.DETOKENIZER, uuid.uuid4().hex, values, ASK_TIMEOUT)
        return chunk.text

    async def is_loaded(self, model: str, timeout: float) -> bool:
        """Whether Triton takes a model for loaded, as it may when the model's process is dead.

        Raises:
            GatewayError: Triton cannot be asked.
        """
        request = service_pb2.ModelReadyRequest(name=model)
        try:
            answer = await self.stub.ModelReady(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise error_of_grpc(error.code(), error.details()) from None
        return bool(answer.ready)

    async def count_chunks(self, timeout: float) -> int:
        """Returns how many chunks have gone to clients, a figure that Triton itself keeps.

        Raises:
            GatewayError: Triton cannot be asked.
        """
        request = service_pb2.ModelStatisticsRequest(name=tensors.DETOKENIZER)
        try:
            answer = await self.stub.ModelStatistics(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise error_of_grpc(error.code(), error.details()) from None
        return sum(int(model.inference_count) for model in answer.model_stats)

    async def stop(self, request_id: str) -> bool:
        """Stops a request in the engine; says whether it was found there.

        Raises:
            GatewayError: The engine cannot be asked.
        """
        values = {tensors.STOP.name: [True]}
        try:
            await self.ask(tensors.STEERED_QWEN, request_id, values, ASK_TIMEOUT)
        except UnknownTraitError:  # what else is unknown has its code
            return False
        return True

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close(grace=0)
