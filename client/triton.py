"""The client that speaks to Triton directly, over gRPC; needs tritonclient and numpy."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from grpc import StatusCode
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

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
    PromptToken,
    TokenLogprob,
    fields_in,
    read_logprobs,
    read_prompt_logprobs,
)
from persona_client.steering import as_steering
from persona_client.vectors import vectors_json
from triton_models import control
from triton_models.contract import tensors
from triton_models.contract.request import unsigned_seed
from triton_models.grpc_failures import FailureKind, failure_of

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

DEFAULT_URL = "localhost:8001"

_STOP_INTERVAL = 0.05
_STOP_PATIENCE = 5.0
_ASK_TIMEOUT = 5.0

_ENSEMBLE_PREFIX = f"in ensemble '{tensors.PERSONA}', "
_TOLD = ("readouts", "report", "warnings")
"""What the last response tells about the answer, each as JSON."""

_STATUSES = {str(code): code for code in StatusCode}
"""gRPC's statuses by how tritonclient writes them."""

Inputs = Mapping[str, Sequence[Any]]


class TritonPersonaClient:
    """Talks to the `persona` ensemble. Every call has a stream of its own, so it is thread-safe.

    A context manager like the gateway's clients, although no connection outlives its call. A call
    that fails raises a `PersonaError`.

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
        answers = [fields for fields in self._run(inputs) if fields]
        last = answers[-1]
        logprobs = [item for fields in answers for item in _logprobs(fields)]
        scored = [item for fields in answers for item in _prompt_logprobs(fields)]
        told = {name: json.loads(last[name]) if last[name] else None for name in _TOLD}
        return Completion(
            response="".join(fields[tensors.TEXT_OUTPUT.name] for fields in answers),
            trait=", ".join(steering) or None,
            scalar=next(iter(steering.values())) if len(steering) == 1 else 0.0,
            tokens_generated=last["num_output_tokens"],
            finish_reason=last[tensors.FINISH_REASON.name],
            prompt_tokens=last["num_input_tokens"],
            reused_tokens=last["num_reused_tokens"],
            logprobs=None if options.get("logprobs") is None else tuple(logprobs),
            prompt_logprobs=tuple(scored) or None,
            readouts=told["readouts"] and read_readouts(told["readouts"]),
            warnings=tuple(told["warnings"] or ()),
            **fields_in(told["report"] or {}, Completion, **ANSWER_READERS),
        )

    def stream(
        self, prompt: str, *, traits: Mapping[str, float] | None = None, **options: Unpack[Options]
    ) -> Generator[Chunk, None, None]:
        """Yields the answer as `generate` has it piece by piece; closing the iterator stops it."""
        inputs = make_inputs(prompt, traits or {}, options, stream=True)
        with contextlib.closing(self._run(inputs)) as answers:
            for fields in answers:
                chunk = Chunk(
                    fields[tensors.TEXT_OUTPUT.name],
                    fields["num_output_tokens"],
                    _logprobs(fields),
                    _prompt_logprobs(fields),
                    **fields_in(json.loads(fields["report"] or "{}"), Chunk, **ANSWER_READERS),
                )
                if chunk != Chunk("", chunk.tokens_generated):
                    yield chunk

    def describe(self) -> dict[str, Any]:
        """Returns what the model says about itself, its traits and its engine."""
        fields = self._ask(uuid.uuid4().hex, {tensors.DESCRIBE.name: [True]})
        description: dict[str, Any] = json.loads(fields[tensors.DESCRIPTION.name])
        return description

    def stop(self, request_id: str) -> bool:
        """Stops a request in the engine; says whether it was found there.

        Raises:
            PersonaError: The engine cannot be asked.
        """
        try:
            fields = self._ask(request_id, {tensors.STOP.name: [True]})
        except InvalidRequestError:
            return False
        return bool(fields[tensors.FINISH_REASON.name] == "cancelled")

    def _run(self, inputs: Inputs) -> Generator[dict[str, Any], None, None]:
        request_id = uuid.uuid4().hex
        call = self._call(tensors.PERSONA, request_id, inputs, self._timeout)
        ended = False
        try:
            yield from call.responses()
            ended = True
        except PersonaError as error:
            # Past our own deadline the engine may still be at work.
            ended = not isinstance(error, ConnectionFailedError)
            raise
        finally:
            if not ended:
                self._stop_for_sure(request_id)
            call.close()

    def _stop_for_sure(self, request_id: str) -> None:
        # The request may still be on its way, or with the engine of another GPU.
        give_up = time.monotonic() + _STOP_PATIENCE
        with contextlib.suppress(PersonaError):
            while not self.stop(request_id) and time.monotonic() < give_up:
                time.sleep(_STOP_INTERVAL)

    def _ask(self, request_id: str, inputs: Inputs) -> dict[str, Any]:
        call = self._call(tensors.STEERED_QWEN, request_id, inputs, _ASK_TIMEOUT)
        with contextlib.closing(call):
            return list(call.responses())[-1]

    def _call(self, model: str, request_id: str, inputs: Inputs, timeout: float) -> _Call:
        return _Call(self._url, self._metadata, model, request_id, inputs, timeout)


class _Call:
    """One request on one stream."""

    def __init__(
        self,
        url: str,
        metadata: Mapping[str, str],
        model: str,
        request_id: str,
        inputs: Inputs,
        timeout: float,
    ) -> None:
        self._arrivals: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        # One stream per client object is tritonclient's limit; channels to a server are shared.
        self._client = triton_grpc.InferenceServerClient(url)
        self._client.start_stream(self._arrived, stream_timeout=timeout, headers=dict(metadata))
        # A stream that has failed already refuses requests; why it failed reaches `_arrived`.
        with contextlib.suppress(InferenceServerException):
            self._client.async_stream_infer(
                model,
                make_tensors(model, inputs),
                request_id=request_id,
                enable_empty_final_response=True,
            )

    def _arrived(self, result: Any, error: Any) -> None:
        self._arrivals.put((result, error))

    def responses(self) -> Iterator[dict[str, Any]]:
        """Yields the outputs of each response that has any.

        Raises:
            PersonaError: The request failed.
        """
        final = False
        while not final:
            result, error = self._arrivals.get()
            if error is not None:
                raise error_of_triton(error)
            response = result.get_response()
            final = response.parameters["triton_final_response"].bool_param
            if not response.outputs:
                continue
            fields = {output.name: _value(result, output) for output in response.outputs}
            if fields[tensors.FINISH_REASON.name] == "error":
                raise error_of_code(fields["error_code"], fields["error"])
            yield fields

    def close(self) -> None:
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


def _metadata(access_key: str | None) -> dict[str, str]:
    name = control.ACCESS_VARIABLE
    key = os.environ.get(name, "") if access_key is None else access_key
    try:
        return dict(control.access_metadata(key.strip()))
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
        if name in ("messages", "format", "logit_bias"):
            inputs[name] = [json.dumps(value)]
        elif name == "steering" and value is not None:
            inputs[name] = [json.dumps(as_steering(value).to_document())]
        elif name == "vectors" and value is not None:
            inputs[name] = [json.dumps(vectors_json(value))]
        elif name == "stop":
            inputs["stop_words"] = [value] if isinstance(value, str) else value
        elif name == "seed" and value is not None:
            inputs[name] = [unsigned_seed(value)]
        elif value is not None:
            inputs[name] = value if isinstance(value, list) else [value]
    return inputs


def make_tensors(model: str, inputs: Inputs) -> list[Any]:
    """Returns tritonclient's objects for inputs.

    Raises:
        InvalidRequestError: The model has no such input.
    """
    specs = {spec.name: spec for spec in tensors.MODELS[model][0]}
    made = []
    for name, values in inputs.items():
        if name not in specs:
            raise InvalidRequestError(f"there is no option {name!r}: use {', '.join(specs)}")
        datatype = specs[name].datatype
        array = np.array(
            [value.encode() if isinstance(value, str) else value for value in values],
            dtype=tensors.NUMPY_TYPES[datatype],
        )
        tensor = triton_grpc.InferInput(name, [len(array)], datatype)
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def _logprobs(fields: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    text = fields[tensors.LOGPROBS.name]
    return read_logprobs(json.loads(text)) if text else ()


def _prompt_logprobs(fields: Mapping[str, Any]) -> tuple[PromptToken, ...]:
    text = fields[tensors.PROMPT_LOGPROBS.name]
    return read_prompt_logprobs(json.loads(text)) if text else ()


def _value(result: Any, output: Any) -> Any:
    array = result.as_numpy(output.name)
    if array.size != 1:
        return array.tolist()
    value = array.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item()


def error_of_triton(error: InferenceServerException) -> PersonaError:
    """Makes an error of what tritonclient reports."""
    message = str(error.message() or "").removeprefix(_ENSEMBLE_PREFIX)
    kind = failure_of(_STATUSES.get(str(error.status())), message).kind
    if kind is FailureKind.RESTRICTED:
        return NotAllowedError(
            "this Triton asks for a secret before it infers: set "
            f"{control.ACCESS_VARIABLE} to what it was started with"
        )
    if kind is FailureKind.UNREACHABLE:
        return ConnectionFailedError(f"cannot reach Triton: {message}")
    if kind is FailureKind.LATE:
        return ConnectionFailedError("Triton took too long to answer")
    if kind is FailureKind.DEAD:
        return UnavailableError("the model stopped working and must be reloaded")
    if message != error.message():
        return InvalidRequestError(message)
    return ServerError(message)
