"""The supervisor's calls to Triton: health checks, and loading and unloading of models."""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from http.client import HTTPException
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from launcher.engine_work import EngineWork, parse_metrics
from triton_models import control
from triton_models.contract import tensors
from triton_models.contract.errors import ErrorCode
from triton_models.contract.tensors import Values
from triton_models.grpc_failures import Failure, FailureKind, failure_of
from triton_models.grpc_messages import (
    TritonChunk,
    TritonFailedError,
    decode_response,
    encode_request,
)
from triton_models.signs_of_life import ENGINE_QUESTION, ONE_TOKEN, STEP_QUESTIONS

ASK_SECONDS = 2.0
_CONTROL_SECONDS = 10.0
_POLL_SECONDS = 0.1

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # To find a restarted server soon; the default backoff grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)


class CallError(Exception):
    """A call failed.

    Attributes:
        failure: What it says about the server.
        asked: The model that was called, `""` if it was Triton itself.
    """

    def __init__(self, failure: Failure, asked: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.asked = asked


class TritonCalls:
    """Calls one Triton, and loads and unloads its models; thread-safe."""

    def __init__(
        self, address: str, metrics_url: str, control_key: str, access_key: str = ""
    ) -> None:
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.address = address
        self._metrics_url = metrics_url
        self._control = ((control.GRPC_HEADER, control_key),)
        self._access = control.access_metadata(access_key)

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def describe(self) -> dict[str, Any]:
        """Returns what a model says about itself, its traits and its engine.

        It waits for no row of the engine's batch. Of several engines it is the one of the instance
        that Triton picks.

        Raises:
            CallError: It does not answer.
        """
        chunk = self._ask(tensors.STEERED_QWEN, ENGINE_QUESTION)
        try:
            description: dict[str, Any] = json.loads(chunk.description)
        except ValueError as error:
            reason = f"the model's description cannot be read: {error!r}"
            raise CallError(Failure(FailureKind.OTHER), tensors.STEERED_QWEN, reason) from error
        return description

    def check_steps(self) -> None:
        """Calls the tokenizer and the detokenizer directly.

        Raises:
            CallError: One of them does not answer.
        """
        for model, question in STEP_QUESTIONS.items():
            self._ask(model, question)

    def generate_one_token(self) -> None:
        """Makes the ensemble generate a token.

        Raises:
            CallError: It did not.
        """
        self._ask(tensors.PERSONA, ONE_TOKEN)

    def count_pieces(self) -> int:
        """Returns how many chunks of answers were sent to clients, as Triton counts them.

        Raises:
            CallError: Triton does not answer.
        """
        request = service_pb2.ModelStatisticsRequest(name=tensors.DETOKENIZER)
        try:
            answer = self._stub.ModelStatistics(request, timeout=ASK_SECONDS)
        except grpc.RpcError as error:
            raise _error_of(error, "") from None
        return sum(int(model.inference_count) for model in answer.model_stats)

    def read_engines(self) -> dict[str, EngineWork]:
        """Returns what each engine has to do, by the name of its instance, as of 0.1 s ago.

        Raises:
            OSError: The metrics cannot be read.
        """
        # Without the environment's proxies, since the server is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._metrics_url, timeout=ASK_SECONDS) as answer:
                return parse_metrics(answer.read().decode())
        except (OSError, HTTPException, ValueError) as error:
            raise OSError(f"the metrics cannot be read: {error!r}") from error

    def count_open(self) -> int:
        """Returns the number of running and waiting requests of all instances.

        Raises:
            OSError: The metrics cannot be read.
        """
        return int(sum(engine.num_open for engine in self.read_engines().values()))

    def unload(self, model: str) -> None:
        """Unloads a model, which ends its Python process.

        Loading alone has no effect on a model that Triton considers loaded.

        Raises:
            CallError: Triton refuses.
        """
        request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
        try:
            self._stub.RepositoryModelUnload(
                request, timeout=_CONTROL_SECONDS, metadata=self._control
            )
        except grpc.RpcError as error:
            raise _error_of(error, "") from None

    def load(self, model: str, seconds: float, interrupted: threading.Event) -> None:
        """Loads a model and the models that it needs, unless they are loaded.

        Raises:
            CallError: Triton refuses, or the model does not load.
        """
        request = service_pb2.RepositoryModelLoadRequest(model_name=model)
        call = self._stub.RepositoryModelLoad.future(
            request, timeout=seconds, metadata=self._control
        )
        while not call.done():
            if interrupted.wait(_POLL_SECONDS):
                call.cancel()
        if error := call.exception() if not call.cancelled() else None:
            raise _error_of(error, "")

    def _ask(self, model: str, values: Values) -> TritonChunk:
        request = encode_request(model, uuid.uuid4().hex, values)
        answer = TritonChunk()
        failure: CallError | None = None
        try:
            messages = self._stub.ModelStreamInfer(
                iter((request,)), timeout=ASK_SECONDS, metadata=self._access
            )
            # To its end even after an error: a stream that is left is cancelled.
            for message in messages:
                try:
                    answer = answer.followed_by(decode_response(message))
                except TritonFailedError as error:
                    failure = CallError(failure_of(None, str(error)), model, str(error))
        except grpc.RpcError as error:
            failure = failure or _error_of(error, model)
        if failure:
            raise failure
        if answer.finish_reason == "error":
            kind = _IN_BAND.get(answer.error_code, FailureKind.OTHER)
            raise CallError(Failure(kind), model, answer.error)
        return answer


_IN_BAND = {
    ErrorCode.RESOURCE_EXHAUSTED.value: FailureKind.FULL,
    ErrorCode.INVALID_ARGUMENT.value: FailureKind.INVALID,
}


def _error_of(error: grpc.RpcError, asked: str) -> CallError:
    status, text = error.code(), (error.details() or "").strip()
    return CallError(failure_of(status, text), asked, f"{status.name}: {text}")
