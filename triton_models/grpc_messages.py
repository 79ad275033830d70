"""Encodes requests to, and decodes responses from, Triton's gRPC messages.

It works on the messages directly rather than through tritonclient's `InferInput` and
`InferResult`: an answer has hundreds of small responses, and numpy arrays of one element would be
most of the cost of reading them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import service_pb2

from triton_models.contract import tensors
from triton_models.contract.errors import read_error_text
from triton_models.contract.tensors import TensorSpec, TritonType, Values

_FINAL = "triton_final_response"
_WANT_FINAL = "triton_enable_empty_final_response"


def _encode_text(texts: Sequence[str]) -> bytes:
    parts = []
    for text in texts:
        data = text.encode()
        parts.append(struct.pack("<I", len(data)))
        parts.append(data)
    return b"".join(parts)


def _decode_text(data: bytes) -> list[str]:
    texts = []
    start = 0
    while start < len(data):
        (size,) = struct.unpack_from("<I", data, start)
        start += 4 + size
        texts.append(data[start - size : start].decode("utf-8", "replace"))
    return texts


_NUMBER_FORMATS: dict[TritonType, str] = {"BOOL": "?", "INT32": "i", "UINT64": "Q", "FP32": "f"}


def _encoder(datatype: TritonType) -> Callable[[Sequence[Any]], bytes]:
    if datatype == "BYTES":
        return _encode_text
    letter = _NUMBER_FORMATS[datatype]
    return lambda values: struct.pack(f"<{len(values)}{letter}", *values)


def _decoder(datatype: str) -> Callable[[bytes], list[Any]]:
    if datatype == "BYTES":
        return _decode_text
    letter = _NUMBER_FORMATS[datatype]  # type: ignore[index]
    size = struct.calcsize(f"<{letter}")
    return lambda data: list(struct.unpack(f"<{len(data) // size}{letter}", data))


_ENCODERS = {datatype: _encoder(datatype) for datatype in ("BYTES", *_NUMBER_FORMATS)}
_DECODERS = {datatype: _decoder(datatype) for datatype in ("BYTES", *_NUMBER_FORMATS)}


Encoded = dict[int, tuple[Sequence[Any], bytes]]
"""Encoded inputs, by the identity of their values, which are kept alive for that."""


def encode_request(
    model: str, request_id: str, values: Values, encoded: Encoded | None = None
) -> Any:
    """Encodes an inference request.

    Args:
        model: One of `tensors.MODELS`.
        request_id: The id that a later `stop` names.
        values: The inputs.
        encoded: A cache of encoded inputs that requests share; this request's are added.

    Raises:
        ValueError: A value has an unknown name, or the wrong length for its input.
        struct.error: A number does not fit its input's type.
    """
    specs = {spec.name: spec for spec in tensors.MODELS[model][0]}
    request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    request.parameters[_WANT_FINAL].bool_param = True
    for name, value in values.items():
        spec = specs.get(name)
        if spec is None or spec.length not in (tensors.ANY, len(value)):
            raise ValueError(f"{model} takes no {name} of {len(value)} elements")
        _add_input(request, spec, value, {} if encoded is None else encoded)
    return request


def _add_input(request: Any, spec: TensorSpec, value: Sequence[Any], encoded: Encoded) -> None:
    tensor = request.inputs.add()
    tensor.name = spec.name
    tensor.datatype = spec.datatype
    tensor.shape.append(len(value))
    if id(value) not in encoded:
        encoded[id(value)] = value, _ENCODERS[spec.datatype](value)
    request.raw_input_contents.append(encoded[id(value)][1])


@dataclass(frozen=True, slots=True)
class TritonChunk:
    """One response of a model: a chunk of an answer, or all of it.

    Attributes:
        finish_reason: `""` until the last chunk.
        num_reused_tokens: How many prompt tokens were copied from the KV cache.
        logprobs: The log-probabilities of this chunk's tokens in the API's form, if asked for.
        prompt_logprobs: Those of the prompt's tokens, if asked for, on the first chunk.
        readouts: For each monitored trait the mean projection at each block, on the last chunk.
        report: What else there is to say about this chunk, and on the last one about the answer.
        warnings: Warnings about the steering, on the last chunk.
        timings: Seconds that the request spent in each phase in the engine, on the last chunk.
        token_ids: The tokens of a prompt, in an answer of the tokenizer's.
        error: The message for the user when `finish_reason` is `error`.
        description: The JSON that answers `describe`.
    """

    text: str = ""
    finish_reason: str = ""
    num_input_tokens: int = 0
    num_output_tokens: int = 0
    num_reused_tokens: int = 0
    logprobs: tuple[Any, ...] = ()
    prompt_logprobs: tuple[Any, ...] = ()
    readouts: dict[str, Any] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    error_code: str = ""
    description: str = ""
    token_ids: tuple[int, ...] = ()
    final: bool = False

    @property
    def calibrated_readouts(self) -> dict[str, Any] | None:
        """What the readouts of calibrated traits say, if there are any."""
        return self.report.get("calibrated_readouts")

    @property
    def token_readouts(self) -> Sequence[Any]:
        """What was read at each of this chunk's tokens, if that was asked for."""
        read: Sequence[Any] = self.report.get("token_readouts", ())
        return read

    @property
    def turn_readouts(self) -> Sequence[Any]:
        """What was read in each turn of the prompt, on the first chunk, if that was asked for."""
        read: Sequence[Any] = self.report.get("turn_readouts", ())
        return read

    @property
    def condition(self) -> dict[str, int] | None:
        """Of how many generated `tokens` have `met` the steering's condition, if it has one."""
        return self.report.get("condition")

    @property
    def limits_reached(self) -> Sequence[Mapping[str, Any]]:
        """The limits that the answer has reached."""
        reached: Sequence[Mapping[str, Any]] = self.report.get("limits_reached", ())
        return reached

    @property
    def enforced(self) -> dict[str, Any] | None:
        """What a policy has added to the request, if it has."""
        return self.report.get("enforced")

    @property
    def says_something(self) -> bool:
        """Whether it has content for a reader: text, or what there is of tokens without text."""
        return bool(
            self.text
            or self.logprobs
            or self.prompt_logprobs
            or self.token_readouts
            or self.turn_readouts
        )

    def followed_by(self, later: TritonChunk) -> TritonChunk:
        """Returns this chunk and the next one as one."""
        return TritonChunk(
            text=self.text + later.text,
            finish_reason=later.finish_reason or self.finish_reason,
            num_input_tokens=max(self.num_input_tokens, later.num_input_tokens),
            num_output_tokens=max(self.num_output_tokens, later.num_output_tokens),
            num_reused_tokens=max(self.num_reused_tokens, later.num_reused_tokens),
            logprobs=self.logprobs + later.logprobs,
            prompt_logprobs=self.prompt_logprobs + later.prompt_logprobs,
            readouts=later.readouts or self.readouts,
            report=_joined(self.report, later.report),
            warnings=self.warnings + later.warnings,
            timings=later.timings or self.timings,
            error=later.error or self.error,
            error_code=later.error_code or self.error_code,
            description=later.description or self.description,
            token_ids=self.token_ids + later.token_ids,
            final=self.final or later.final,
        )


def _joined(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the reports of a chunk and the next one as one."""
    both = {**earlier, **later}
    for name in ("token_readouts", "turn_readouts"):
        if name in earlier and name in later:
            both[name] = [*earlier[name], *later[name]]
    return both


_CHUNK_FIELDS = {
    tensors.TEXT_OUTPUT.name: "text",
    tensors.LOGPROBS.name: "logprobs",
    tensors.PROMPT_LOGPROBS.name: "prompt_logprobs",
    tensors.INPUT_IDS.name: "token_ids",
    **{spec.name: spec.name for spec in (*tensors.STATUS_OUTPUTS, tensors.DESCRIPTION)},
}

_READERS: dict[str, Callable[[str], Any]] = {
    "logprobs": lambda text: tuple(json.loads(text)) if text else (),
    "prompt_logprobs": lambda text: tuple(json.loads(text)) if text else (),
    "readouts": lambda text: json.loads(text) if text else None,
    "report": lambda text: json.loads(text) if text else {},
    "warnings": lambda text: tuple(json.loads(text)) if text else (),
    "timings": lambda text: json.loads(text) if text else {},
}


class TritonFailedError(Exception):
    """Triton itself failed on a request; the text is its own, and may hold a stack trace."""


def decode_response(message: Any) -> TritonChunk:
    """Decodes a `ModelStreamInferResponse`.

    A response with only a final flag is an empty chunk. Steps refuse a request in a chunk or, as
    the tokenizer does, with a plain Triton error: both make the same chunk.

    Raises:
        TritonFailedError: It is an error of Triton's own.
    """
    if message.error_message:
        refusal = read_error_text(message.error_message)
        if refusal is None:
            raise TritonFailedError(message.error_message)
        code, reason = refusal
        return TritonChunk(finish_reason="error", error=reason, error_code=code, final=True)
    response = message.infer_response
    fields: dict[str, Any] = {}
    for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
        field = _CHUNK_FIELDS.get(output.name)
        if field is not None and data:
            values = _DECODERS[output.datatype](data)
            if field == "token_ids":
                fields[field] = tuple(values)
                continue
            fields[field] = _READERS[field](values[0]) if field in _READERS else values[0]
    return TritonChunk(**fields, final=response.parameters[_FINAL].bool_param)
