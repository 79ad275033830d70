"""Reads the tensors of requests and builds those of responses."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from triton_models.contract.errors import (
    ErrorCode,
    InvalidArgumentError,
    RequestError,
    error_text,
)
from triton_models.contract.tensors import NUMPY_TYPES, TensorSpec

TRITON_PARAMETER_PREFIX = "triton_"
"""The prefix of the parameters that Triton itself reads."""

_TRITON_CODES = {
    ErrorCode.INVALID_ARGUMENT: "INVALID_ARG",
    ErrorCode.NOT_FOUND: "NOT_FOUND",
    ErrorCode.RESOURCE_EXHAUSTED: "UNAVAILABLE",
    ErrorCode.UNAVAILABLE: "UNAVAILABLE",
    ErrorCode.INTERNAL: "INTERNAL",
}
"""Names in `pb_utils.TritonError`, which the stub provides only once the model is imported."""


def refuse_parameters(request: Any, specs: Iterable[TensorSpec]) -> None:
    """Makes sure that a request has no parameters except those that Triton itself reads.

    Triton's HTTP `generate` turns unknown fields, such as misspelled inputs, into parameters.

    Raises:
        InvalidArgumentError: It has one; the message lists the inputs.
    """
    for name in json.loads(request.parameters() or "{}"):
        if not name.startswith(TRITON_PARAMETER_PREFIX):
            inputs = ", ".join(spec.name for spec in specs)
            raise InvalidArgumentError(f"unknown input {name!r}: the inputs are {inputs}")


def read_values(request: Any, specs: Iterable[TensorSpec]) -> dict[str, list[Any]]:
    """Returns the tensors of a request, each as a flat list, with text decoded.

    Raises:
        InvalidArgumentError: A text is not valid UTF-8.
    """
    values = {}
    for spec in specs:
        tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
        if tensor is None:
            continue
        elements = tensor.as_numpy().reshape(-1).tolist()
        values[spec.name] = (
            [_text(spec.name, element) for element in elements]
            if spec.datatype == "BYTES"
            else elements
        )
    return values


def build_tensors(
    requested: Container[str], specs: Iterable[TensorSpec], values: Mapping[str, Any]
) -> list[Any]:
    """Returns the tensors that a request asked for, and only those.

    Sending outputs that were not requested crashes decoupled models of Triton 2.51 under
    concurrency. Each value is one element, or a sequence if the output's length is variable.
    """
    return [
        pb_utils.Tensor(spec.name, _array(spec, values[spec.name]))
        for spec in specs
        if spec.name in requested
    ]


def triton_error(error: RequestError) -> Any:
    """Returns an error as Triton reports it: over HTTP with a status, in gRPC streams as a text."""
    code = getattr(pb_utils.TritonError, _TRITON_CODES[error.code])
    return pb_utils.TritonError(error_text(error), code)


def _array(spec: TensorSpec, value: Any) -> Any:
    elements = [value] if spec.length == 1 else list(value)
    if spec.datatype == "BYTES":
        elements = [element.encode() for element in elements]
    return np.array(elements, dtype=NUMPY_TYPES[spec.datatype])


def _text(name: str, element: bytes | str) -> str:
    if isinstance(element, str):
        return element
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{name} is not valid UTF-8: {error.reason}") from error
