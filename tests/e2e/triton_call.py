"""A plain tritonclient caller, as a user would write one: no code of the project is in it."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

TYPES: dict[type, tuple[str, Any]] = {
    str: ("BYTES", np.object_),
    bytes: ("BYTES", np.object_),
    bool: ("BOOL", np.bool_),
    int: ("INT32", np.int32),
    float: ("FP32", np.float32),
}

OF_FREE_LENGTH = ("output_ids", "echo_ids", "output_logprobs", "top_ids", "top_logprobs")


class Call:
    """One request on a gRPC stream of its own.

    Args:
        address: Triton's gRPC address.
        model: The model to call.
        inputs: Each input's value, or list of values.
        request_id: The request's id.
        outputs: The outputs to ask for; all when left out.
    """

    def __init__(
        self,
        address: str,
        model: str,
        inputs: Mapping[str, Any],
        request_id: str = "",
        outputs: list[str] | None = None,
    ) -> None:
        self._responses: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._client = grpcclient.InferenceServerClient(address)
        self._client.start_stream(lambda result, error: self._responses.put((result, error)))
        self._client.async_stream_infer(
            model,
            [_input(name, value) for name, value in inputs.items()],
            request_id=request_id,
            enable_empty_final_response=True,
            outputs=[grpcclient.InferRequestedOutput(name) for name in outputs or []],
        )

    def responses(self) -> Iterator[dict[str, Any]]:
        """Yields each response's outputs until the final one.

        Raises:
            InferenceServerException: Triton answered with an error.
        """
        try:
            while True:
                result, error = self._responses.get(timeout=60)
                if error is not None:
                    raise error
                response = result.get_response()
                yield {output.name: _value(result, output.name) for output in response.outputs}
                if response.parameters["triton_final_response"].bool_param:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Drops the stream, as a client that goes away does."""
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


def call(address: str, model: str = "persona", **inputs: Any) -> list[dict[str, Any]]:
    """Makes a request and returns all its responses."""
    return list(Call(address, model, inputs).responses())


def error_of(address: str, model: str = "persona", **inputs: Any) -> str:
    """Makes a request that Triton must refuse, and returns the message."""
    try:
        responses = call(address, model, **inputs)
    except InferenceServerException as error:
        return str(error.message())
    raise AssertionError(f"the request was not refused: {responses}")


def describe(address: str) -> dict[str, Any]:
    """Returns what `steered_qwen` says about itself."""
    (response,) = call(address, "steered_qwen", describe=True)
    description: dict[str, Any] = json.loads(response["description"])
    return description


def _input(name: str, value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    datatype, dtype = TYPES[type(values[0])] if name != "seed" else ("UINT64", np.uint64)
    elements = [each.encode() if isinstance(each, str) else each for each in values]
    tensor = grpcclient.InferInput(name, [len(values)], datatype)
    tensor.set_data_from_numpy(np.array(elements, dtype=dtype))
    return tensor


def _value(result: Any, name: str) -> Any:
    elements = result.as_numpy(name).tolist()
    elements = [each.decode() if isinstance(each, bytes) else each for each in elements]
    return elements if name in OF_FREE_LENGTH else elements[0]
