"""The client that speaks to Triton directly, over gRPC; needs tritonclient."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import struct
import threading
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import grpc
from grpc.experimental import ChannelOptions
from tritonclient.grpc import service_pb2

from persona_client.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    NotAllowedError,
    PersonaError,
    ServerError,
    UnavailableError,
    error_of_code,
)
from persona_client.protocol import Options
from persona_client.readouts import read_readouts
from persona_client.results import (
    ANSWER_READERS,
    Chunk,
    Completion,
    fields_in,
    read_logprobs,
    read_prompt_logprobs,
)
from persona_client.steering import as_steering
from persona_client.vectors import vectors_json
from triton_models import control
from triton_models.contract import tensors
from triton_models.contract.request import unsigned_seed
from triton_models.contract.tensors import Values
from triton_models.grpc_failures import FailureKind, failure_of
from triton_models.grpc_messages import (
    TritonChunk,
    TritonFailedError,
    decode_response,
    encode_request,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

DEFAULT_URL = "localhost:8001"

_STOP_INTERVAL = 0.05
_STOP_PATIENCE = 5.0
_ASK_TIMEOUT = 5.0

_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # When a program ends, Python 3.12 starts no thread, and every Python ends those of gRPC.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
)


class TritonPersonaClient:
    """Talks to the `persona` ensemble. Every call has a stream of its own, so it is thread-safe.

    A context manager like the gateway's clients, although no connection outlives its call. A call
    that fails raises a `PersonaError`. An answer that is unfinished when the program ends is
    stopped.

    Args:
        url: Host and port of Triton's gRPC endpoint.
        timeout: How many seconds an answer may take.
        access_key: What that Triton asks for before it infers; `TRITON_ACCESS_KEY` of the
            environment when left out, nothing if `""`.

    Raises:
        ValueError: The key cannot be one.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, timeout: float = 300.0, access_key: str | None = None
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._metadata = _metadata(access_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes nothing: every call has closed its stream itself."""

    def generate(
        self, prompt: str, *, traits: Mapping[str, float] | None = None, **options: Unpack[Options]
    ) -> Completion:
        """Answers a prompt.

        Args:
            prompt: The prompt; `""` when `messages` is among the options.
            traits: For each trait to steer its scalar; they add up. None for a baseline, or if
                `steering`, among the options, says it all.
            **options: See `protocol.Options`.
        """
        inputs = make_inputs(prompt, traits or {}, options, stream=False)
        steering = dict(traits or {})
        answer = reduce(TritonChunk.followed_by, self._run(inputs))
        logprobs = read_logprobs(answer.logprobs)
        return Completion(
            response=answer.text,
            trait=", ".join(steering) or None,
            scalar=next(iter(steering.values())) if len(steering) == 1 else 0.0,
            tokens_generated=answer.num_output_tokens,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.num_input_tokens,
            reused_tokens=answer.num_reused_tokens,
            logprobs=None if options.get("logprobs") is None else logprobs,
            prompt_logprobs=read_prompt_logprobs(answer.prompt_logprobs) or None,
            readouts=answer.readouts and read_readouts(answer.readouts),
            warnings=answer.warnings,
            **fields_in(answer.report, Completion, **ANSWER_READERS),
        )

    def stream(
        self, prompt: str, *, traits: Mapping[str, float] | None = None, **options: Unpack[Options]
    ) -> Generator[Chunk, None, None]:
        """Yields the answer as `generate` has it piece by piece; closing the iterator stops it."""
        inputs = make_inputs(prompt, traits or {}, options, stream=True)
        with contextlib.closing(self._run(inputs)) as answers:
            for answer in answers:
                chunk = Chunk(
                    answer.text,
                    answer.num_output_tokens,
                    read_logprobs(answer.logprobs),
                    read_prompt_logprobs(answer.prompt_logprobs),
                    **fields_in(answer.report, Chunk, **ANSWER_READERS),
                )
                if chunk != Chunk("", chunk.tokens_generated):
                    yield chunk

    def describe(self) -> dict[str, Any]:
        """Returns what the model says about itself, its traits and its engine."""
        answer = self._ask(uuid.uuid4().hex, {tensors.DESCRIBE.name: [True]})
        description: dict[str, Any] = json.loads(answer.description)
        return description

    def stop(self, request_id: str) -> bool:
        """Stops a request in the engine; says whether it was found there.

        Raises:
            PersonaError: The engine cannot be asked.
        """
        try:
            return self._ask(request_id, {tensors.STOP.name: [True]}).finish_reason == "cancelled"
        except InvalidRequestError:
            return False

    def _run(self, inputs: Values) -> Generator[TritonChunk, None, None]:
        call = self._call(tensors.PERSONA, uuid.uuid4().hex, inputs, self._timeout)
        # A program may end with its answer unfinished.
        leave = atexit.register(partial(self._leave, call, os.getpid()))
        try:
            yield from call.responses()
        finally:
            atexit.unregister(leave)
            leave()

    def _leave(self, call: _Call, process: int) -> None:
        if os.getpid() != process:
            return  # a fork's copy: the answer is its parent's
        if not call.ended:
            call.ended = True
            self._stop_for_sure(call.request_id)
        call.close()

    def _stop_for_sure(self, request_id: str) -> None:
        # The request may still be on its way, or with the engine of another GPU.
        give_up = time.monotonic() + _STOP_PATIENCE
        with contextlib.suppress(PersonaError):
            while not self.stop(request_id) and time.monotonic() < give_up:
                time.sleep(_STOP_INTERVAL)

    def _ask(self, request_id: str, inputs: Values) -> TritonChunk:
        call = self._call(tensors.STEERED_QWEN, request_id, inputs, _ASK_TIMEOUT)
        with contextlib.closing(call):
            return reduce(TritonChunk.followed_by, call.responses())

    def _call(self, model: str, request_id: str, inputs: Values, timeout: float) -> _Call:
        request = make_request(model, request_id, inputs)
        return _Call(self._url, self._metadata, request, timeout)


class _Call:
    """One request on one stream, without a thread of its own.

    Attributes:
        request_id: The request's id.
        ended: Whether the engine has nothing more to do for it.
    """

    def __init__(
        self, url: str, metadata: Sequence[tuple[str, str]], request: Any, timeout: float
    ) -> None:
        self.request_id: str = request.id
        self.ended = False
        self._reading = threading.Lock()
        self._channel = grpc.insecure_channel(url, options=_CHANNEL_OPTIONS)
        # Triton's own stub takes a stream of requests, for which gRPC needs a thread that sends it.
        infer = self._channel.unary_stream(
            _INFER,
            request_serializer=service_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
        )
        self._responses = infer(request, metadata=metadata, timeout=timeout)

    def responses(self) -> Iterator[TritonChunk]:
        """Yields the responses.

        Raises:
            PersonaError: The request failed.
        """
        failure: PersonaError | None = None
        self._reading.acquire()
        try:
            for message in self._responses:
                try:
                    chunk = decode_response(message)
                except TritonFailedError as error:
                    failure = error_of_triton(None, str(error))
                    continue
                if chunk.finish_reason == "error":
                    failure = error_of_code(chunk.error_code, chunk.error)
                else:
                    self.ended = self.ended or bool(chunk.finish_reason)
                    self._reading.release()
                    yield chunk
                    self._reading.acquire()
        except grpc.RpcError as error:
            failure = failure or error_of_triton(error.code(), error.details() or "")
        # Past our own deadline the engine may still be at work.
        self.ended = self.ended or not isinstance(failure, ConnectionFailedError)
        if failure:
            raise failure

    def close(self) -> None:
        """Ends the call and its connection."""
        self._channel.close()
        # gRPC frees only what is read to its end, and waits for ever for an end that a reader has
        # taken: one in another thread, or one that Ctrl-C has interrupted, which keeps the lock.
        if self._reading.acquire(blocking=False):
            with contextlib.suppress(grpc.RpcError):
                for _ in self._responses:
                    pass


def _metadata(access_key: str | None) -> Sequence[tuple[str, str]]:
    name = control.ACCESS_VARIABLE
    key = os.environ.get(name, "") if access_key is None else access_key
    try:
        return control.access_metadata(key.strip())
    except ValueError as error:
        raise ValueError(f"{name} cannot be used: {error}") from None


def make_inputs(
    prompt: str, traits: Mapping[str, float], options: Mapping[str, Any], *, stream: bool
) -> dict[str, Sequence[Any]]:
    """Returns the ensemble's inputs for a call."""
    inputs: dict[str, Sequence[Any]] = {tensors.TEXT_INPUT.name: [prompt]}
    if stream:
        inputs["stream"] = [True]
    if traits:
        inputs["trait"] = list(traits)
        inputs["scalar"] = list(traits.values())
    for name, value in options.items():
        if value is None:
            continue
        if name in ("messages", "format", "logit_bias"):
            inputs[name] = [json.dumps(value)]
        elif name == "steering":
            inputs[name] = [json.dumps(as_steering(value).to_document())]
        elif name == "vectors":
            inputs[name] = [json.dumps(vectors_json(value))]
        elif name == "stop":
            inputs["stop_words"] = [value] if isinstance(value, str) else value
        elif name == "seed":
            inputs[name] = [unsigned_seed(value)]
        else:
            inputs[name] = value if isinstance(value, list) else [value]
    return inputs


def make_request(model: str, request_id: str, inputs: Values) -> Any:
    """Returns Triton's message for a request.

    Raises:
        InvalidRequestError: The model has no such input, or it cannot have that value.
    """
    names = [spec.name for spec in tensors.MODELS[model][0]]
    for name in inputs:
        if name not in names:
            raise InvalidRequestError(f"there is no option {name!r}: use {', '.join(names)}")
    try:
        return encode_request(model, request_id, inputs)
    except (ValueError, OverflowError, struct.error) as error:
        raise InvalidRequestError(f"a value cannot be sent: {error}") from None


def error_of_triton(status: grpc.StatusCode | None, text: str) -> PersonaError:
    """Makes an error of a failed call; the status is `None` for a message inside the stream."""
    kind = failure_of(status, text).kind
    if kind is FailureKind.RESTRICTED:
        return NotAllowedError(
            "this Triton asks for a secret before it infers: set "
            f"{control.ACCESS_VARIABLE} to what it was started with"
        )
    if kind is FailureKind.UNREACHABLE:
        return ConnectionFailedError(f"cannot reach Triton: {text}")
    if kind is FailureKind.LATE:
        return ConnectionFailedError("Triton took too long to answer")
    if kind is FailureKind.DEAD:
        return UnavailableError("the model stopped working and must be reloaded")
    if kind is FailureKind.NOT_LOADED:
        return UnavailableError("the model is not loaded yet: try again soon")
    return ServerError(text)
