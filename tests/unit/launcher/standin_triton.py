"""A gRPC server that answers as Triton does, of one release or another, over a model that dies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.triton_server import serving
from triton_models import control
from triton_models.contract import tensors

CONTROL_KEY = "c" * 40
ACCESS_KEY = "a" * 40

OLD, NEW = "2.51", "2.73"

_RESTRICTED = "This protocol is restricted, expecting header 'triton-grpc-protocol-x'"


class StandInTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers questions about models, and loads and unloads them.

    2.51 calls a model ready whose process is dead, and says so in the answer to each request only.
    2.73 calls the model and the whole server not ready then, but the ensemble is ready as before,
    and refuses the request itself.

    Args:
        release: `OLD` or `NEW`.

    Attributes:
        dead: The model whose process is dead, `""` if none is.
        running: How many requests the engine says it has.
        done: What was loaded and unloaded.
        asked: Which models were asked.
    """

    def __init__(self, release: str) -> None:
        self.release = release
        self.dead = ""
        self.running = 0
        self.done: list[str] = []
        self.asked: list[str] = []
        self._loaded = set(tensors.MODELS)
        self._lock = threading.Lock()

    def ModelStreamInfer(  # noqa: N802
        self, requests: Iterator[Any], context: Any
    ) -> Iterator[Any]:
        metadata = dict(context.invocation_metadata())
        if metadata.get(control.ACCESS_GRPC_HEADER) != ACCESS_KEY:
            context.abort(grpc.StatusCode.UNAVAILABLE, _RESTRICTED)
        for request in requests:
            model = request.model_name
            self.asked.append(model)
            if model not in self._loaded:
                text = f"Request for unknown model: '{model}' has no available versions"
                yield service_pb2.ModelStreamInferResponse(error_message=text)
                return
            if self.dead in (model, tensors.STEERED_QWEN) and self.dead and self._reaches(model):
                text = (
                    f"Request for unknown model: '{self.dead}' is not at ready state"
                    if self.release == NEW
                    else f"Failed to process the request(s) for model instance '{self.dead}_0_0', "
                    f"message: Stub process '{self.dead}_0_0' is not healthy."
                )
                yield service_pb2.ModelStreamInferResponse(error_message=text)
                return
            yield service_pb2.ModelStreamInferResponse(infer_response=self._answer(model))

    def _reaches(self, model: str) -> bool:
        return model in (self.dead, tensors.PERSONA)

    def _answer(self, model: str) -> Any:
        response = service_pb2.ModelInferResponse(model_name=model)
        response.parameters["triton_final_response"].bool_param = True
        if model == tensors.STEERED_QWEN:
            engine = {"alive": True, "running": self.running, "waiting": 0}
            data = json.dumps({"engine": engine}).encode()
            output = response.outputs.add(name=tensors.DESCRIPTION.name, datatype="BYTES")
            output.shape.append(1)
            response.raw_output_contents.append(len(data).to_bytes(4, "little") + data)
        return response

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=not self.dead or self.release == OLD)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        ready = request.name in self._loaded
        if self.release == NEW and request.name == self.dead:
            ready = False
        return service_pb2.ModelReadyResponse(ready=ready)

    def ModelStatistics(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelStatisticsResponse()

    def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._guard(context)
        with self._lock:
            self.done.append(f"unload {request.model_name}")
            self._loaded.discard(request.model_name)
            if request.model_name == self.dead:
                self.dead = ""
        return service_pb2.RepositoryModelUnloadResponse()

    def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._guard(context)
        with self._lock:
            self.done.append(f"load {request.model_name}")
            self._loaded |= (
                set(tensors.MODELS) if request.model_name == tensors.PERSONA
                else {request.model_name}
            )  # fmt: skip
        return service_pb2.RepositoryModelLoadResponse()

    def _guard(self, context: Any) -> None:
        if dict(context.invocation_metadata()).get(control.GRPC_HEADER) != CONTROL_KEY:
            context.abort(grpc.StatusCode.UNAVAILABLE, _RESTRICTED)

    def let_go(self, model: str) -> None:
        """Unloads a model as somebody else would."""
        with self._lock:
            self._loaded.discard(model)


@contextmanager
def standin_triton(release: str) -> Iterator[tuple[StandInTriton, str]]:
    """Runs one, and gives its address."""
    triton = StandInTriton(release)
    with serving(triton) as address:
        yield triton, address
