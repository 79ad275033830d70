"""Whether Triton's models work, and what can be done about it if not."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from gateway.endpoint import Endpoint
from gateway.errors import ControlRefusedError, GatewayError, error_of_grpc, error_of_response
from triton_models import control, tensors
from triton_models.grpc_messages import Values
from triton_models.tensors import TritonType

_CALL_TIMEOUT = 5.0
_PROBE_PROMPT = "Hello"

_RESTRICTED = "This protocol is restricted"
"""Triton's words for a call without the header that it asks for, or with another's value."""

_NOTHING: dict[TritonType, list[Any]] = {"INT32": [0], "BYTES": [""]}

_STEP_QUESTIONS: dict[str, Values] = {
    tensors.TOKENIZER: {tensors.TEXT_INPUT.name: [_PROBE_PROMPT]},
    tensors.DETOKENIZER: {
        spec.name: _NOTHING[spec.datatype] if spec.length == 1 else []
        for spec in tensors.MODELS[tensors.DETOKENIZER][0]
    },
}

STEPS = tuple(_STEP_QUESTIONS)
"""The steps of the ensemble beside the language model."""


class ModelHealth:
    """Asks a Triton server's models for signs of life, and loads and unloads them.

    Args:
        triton: The server.
        control_key: What it asks for before it loads or unloads anything, `""` if nothing.
    """

    def __init__(self, triton: Endpoint, control_key: str = "") -> None:
        self._triton = triton
        self._metadata = ((control.GRPC_HEADER, control_key),) if control_key else ()

    async def probe(self, timeout: float) -> None:
        """Generates one token, which proves what Triton's own readiness does not.

        Args:
            timeout: How many seconds it may take.

        Raises:
            GatewayError: It failed.
        """
        values: dict[str, list[Any]] = {
            tensors.TEXT_INPUT.name: [_PROBE_PROMPT],
            "raw": [True],
            "max_tokens": [1],
            "temperature": [0.0],
        }
        chunk = await self._triton.ask(tensors.PERSONA, uuid.uuid4().hex, values, timeout)
        if chunk.finish_reason == "error":
            raise error_of_response(chunk.error_code, chunk.error)

    async def check_step(self, model: str, timeout: float) -> None:
        """Asks the tokenizer or the detokenizer alone, past the ensemble.

        Args:
            model: One of `STEPS`.
            timeout: How many seconds it may take.

        Raises:
            GatewayError: It does not answer.
        """
        await self._triton.ask(model, uuid.uuid4().hex, _STEP_QUESTIONS[model], timeout)

    async def count_chunks(self) -> int:
        """Returns how many chunks have gone to clients, a figure that Triton itself keeps.

        Raises:
            GatewayError: Triton cannot be asked.
        """
        request = service_pb2.ModelStatisticsRequest(name=tensors.DETOKENIZER)
        try:
            answer = await self._triton.stub.ModelStatistics(request, timeout=_CALL_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise error_of_grpc(error.code(), error.details()) from None
        return sum(int(model.inference_count) for model in answer.model_stats)

    async def is_server_ready(self) -> bool:
        """Whether Triton itself answers and is ready to be given work."""
        try:
            answer = await self._triton.stub.ServerReady(
                service_pb2.ServerReadyRequest(), timeout=_CALL_TIMEOUT
            )
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def is_loaded(self, model: str) -> bool:
        """Whether Triton takes a model for loaded, as it does when the model's process is dead."""
        request = service_pb2.ModelReadyRequest(name=model)
        try:
            answer = await self._triton.stub.ModelReady(request, timeout=_CALL_TIMEOUT)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def unload(self, model: str) -> None:
        """Unloads a model, which ends its Python process.

        Loading alone does nothing to a model that Triton believes to be loaded.

        Args:
            model: One of `tensors.MODELS`; the ensemble waits for a step to be loaded again.

        Raises:
            ControlRefusedError: It takes another key.
            GatewayError: Triton refuses.
        """
        request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        try:
            await self._triton.stub.RepositoryModelUnload(
                request, timeout=_CALL_TIMEOUT, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise _error_of_control(error) from None

    async def load(self, model: str, timeout: float) -> None:
        """Loads a model, with all it needs, if it is not loaded.

        Args:
            model: One of `tensors.MODELS`.
            timeout: How many seconds it may take.

        Raises:
            ControlRefusedError: It takes another key.
            GatewayError: Triton refuses, or the model does not load.
        """
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        try:
            await self._triton.stub.RepositoryModelLoad(
                request, timeout=timeout, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise _error_of_control(error) from None


def _error_of_control(error: grpc.aio.AioRpcError) -> GatewayError:
    if _RESTRICTED in (error.details() or ""):
        return ControlRefusedError(f"{error.code().name}: {error.details()}")
    return error_of_grpc(error.code(), error.details())
