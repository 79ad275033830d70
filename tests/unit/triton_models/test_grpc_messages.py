"""Messages carry the tensors of the contract, byte for byte as Triton lays them out."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from triton_models.contract import tensors
from triton_models.contract.errors import InvalidArgumentError, error_text
from triton_models.grpc_messages import (
    TritonChunk,
    TritonFailedError,
    decode_response,
    encode_request,
)

ONE_OF_EACH: dict[str, list[Any]] = {
    "text_input": ["Grüße 👋"],
    "trait": ["sarcasm", "flattery"],
    "scalar": [2.0, -0.5],
    "max_tokens": [7],
    "seed": [2**64 - 1],
    "stream": [True],
}


def encode(values: dict[str, list[Any]]) -> dict[str, tuple[Any, bytes]]:
    request = encode_request(tensors.PERSONA, "an-id", values)
    pairs = zip(request.inputs, request.raw_input_contents, strict=True)
    return {tensor.name: (tensor, data) for tensor, data in pairs}


def test_inputs_have_the_names_types_and_shapes_of_the_contract() -> None:
    specs = {spec.name: spec for spec in tensors.PERSONA_INPUTS}
    encoded = encode(ONE_OF_EACH)
    assert encoded.keys() == ONE_OF_EACH.keys()
    for name, (tensor, _) in encoded.items():
        assert tensor.datatype == specs[name].datatype
        assert list(tensor.shape) == [len(ONE_OF_EACH[name])]


def test_numbers_are_laid_out_as_numpy_does() -> None:
    encoded = encode(ONE_OF_EACH)
    assert encoded["scalar"][1] == np.array([2.0, -0.5], np.float32).tobytes()
    assert encoded["max_tokens"][1] == np.array([7], np.int32).tobytes()
    assert encoded["seed"][1] == np.array([2**64 - 1], np.uint64).tobytes()
    assert encoded["stream"][1] == np.array([True]).tobytes()


def test_text_is_laid_out_as_tritonclient_does() -> None:
    data = encode(ONE_OF_EACH)["trait"][1]
    assert [item.decode() for item in deserialize_bytes_tensor(data)] == ["sarcasm", "flattery"]


def test_a_request_asks_for_the_final_flag_and_carries_its_id() -> None:
    request = encode_request(tensors.STEERED_QWEN, "an-id", {tensors.STOP.name: [True]})
    assert (request.model_name, request.id) == (tensors.STEERED_QWEN, "an-id")
    assert request.parameters["triton_enable_empty_final_response"].bool_param


@pytest.mark.parametrize("values", [{"temprature": [1.0]}, {"max_tokens": [1, 2]}])
def test_what_the_model_does_not_take_cannot_be_sent(values: dict[str, list[Any]]) -> None:
    with pytest.raises(ValueError, match="takes no"):
        encode_request(tensors.PERSONA, "an-id", values)


def response(final: bool, **outputs: tuple[str, bytes]) -> Any:
    message = service_pb2.ModelInferResponse()
    for name, (datatype, data) in outputs.items():
        tensor = message.outputs.add()
        tensor.name, tensor.datatype = name, datatype
        tensor.shape.append(1)
        message.raw_output_contents.append(data)
    message.parameters["triton_final_response"].bool_param = final
    return service_pb2.ModelStreamInferResponse(infer_response=message)


def text_tensor(text: str) -> tuple[str, bytes]:
    return "BYTES", serialize_byte_tensor(np.array([text.encode()], dtype=object)).item()


def test_a_response_is_read_as_a_chunk() -> None:
    message = response(
        True,
        text_output=text_tensor("日本"),
        finish_reason=text_tensor("stop"),
        num_output_tokens=("INT32", struct.pack("<i", 5)),
        num_reused_tokens=("INT32", struct.pack("<i", 3)),
        token_logprobs=text_tensor('[{"token": "日"}]'),
        readouts=text_tensor('{"sarcasm": {"1": 0.5}}'),
    )
    assert decode_response(message) == TritonChunk(
        text="日本",
        finish_reason="stop",
        num_output_tokens=5,
        num_reused_tokens=3,
        logprobs=({"token": "日"},),
        readouts={"sarcasm": {"1": 0.5}},
        final=True,
    )


def test_what_was_not_asked_for_is_not_there() -> None:
    message = response(False, token_logprobs=text_tensor(""), readouts=text_tensor(""))
    assert decode_response(message) == TritonChunk(logprobs=(), readouts=None)


def test_a_response_of_the_final_flag_alone_is_an_empty_chunk() -> None:
    assert decode_response(response(True)) == TritonChunk(final=True)


@pytest.mark.parametrize("before", ["", "in ensemble 'persona', "])
def test_a_step_s_refusal_is_a_chunk_however_it_comes(before: str) -> None:
    text = before + error_text(InvalidArgumentError("stop: is not\nloaded"))
    message = service_pb2.ModelStreamInferResponse(error_message=text)
    assert decode_response(message) == TritonChunk(
        finish_reason="error",
        error="stop: is not\nloaded",
        error_code="invalid_argument",
        final=True,
    )


@pytest.mark.parametrize(
    "text",
    ["unexpected shape", "in ensemble 'persona', novel: reason", "an invalid_argument: reason"],
)
def test_an_error_of_triton_s_own_is_none_of_a_step(text: str) -> None:
    with pytest.raises(TritonFailedError, match=text):
        decode_response(service_pb2.ModelStreamInferResponse(error_message=text))


def test_joined_chunks_say_what_both_say() -> None:
    first = TritonChunk(text="a", num_input_tokens=3, num_output_tokens=1, logprobs=("of a",))
    last = TritonChunk(
        text="b",
        finish_reason="length",
        num_output_tokens=2,
        logprobs=("of b",),
        readouts={"sarcasm": {}},
        final=True,
    )
    assert first.followed_by(last) == TritonChunk(
        text="ab",
        finish_reason="length",
        num_input_tokens=3,
        num_output_tokens=2,
        logprobs=("of a", "of b"),
        readouts={"sarcasm": {}},
        final=True,
    )
