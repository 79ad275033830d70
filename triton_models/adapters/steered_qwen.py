"""The `steered_qwen` model: tokens in, chunks of steered tokens out (decoupled).

Threads: Triton's calls `execute`, which only validates and hands over; the engine's runs the steps;
others send responses, poll Triton for disconnected clients, update Triton's metrics, and watch the
vector files. Errors of a request are sent in-band (`error`, `error_code`), because a Triton error
inside an ensemble can leak the request.
"""

from __future__ import annotations

import gc
import logging
import threading
from functools import partial
from typing import Any

import triton_python_backend_utils as pb_utils

from triton_models.adapters.description import describe
from triton_models.adapters.instance import metric_labels, settings_of_instance
from triton_models.adapters.metrics import MetricsMirror, MetricsThread
from triton_models.adapters.request_log import log_end, log_refusal
from triton_models.adapters.response_sender import ResponseStream, SenderThread
from triton_models.adapters.tensor_io import read_values, refuse_parameters
from triton_models.contract import tensors
from triton_models.contract.errors import ErrorCode, InvalidArgumentError, RequestError
from triton_models.contract.request import parse_generation_request
from triton_models.engine.build import build_engine
from triton_models.engine.sequence import FinishReason, Sequence, TokenChunk
from triton_models.logs import configure_logging
from triton_models.settings import ServerSettings
from triton_models.text.token_bytes import TokenBytes

logger = logging.getLogger(__name__)

CANCELLATION_POLL_SECONDS = 0.05
DRAIN_SECONDS = 10.0


class SteeredQwenModel:
    """Triton's interface to the engine."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and starts the engine; an error here fails the model's loading."""
        self._settings = settings_of_instance(ServerSettings.read(), args)
        configure_logging(self._settings.log_level, self._settings.log_format)
        self._built = build_engine(self._settings)
        self._engine = self._built.engine
        self._token_bytes = TokenBytes(self._built.loaded.tokenizer)
        self._sender = SenderThread()
        self._open: dict[Sequence, ResponseStream] = {}
        self._stopping = threading.Event()
        self._canceller = threading.Thread(
            target=self._cancel_abandoned, name="cancellation", daemon=True
        )
        self._built.registry.start()
        self._engine.start()
        self._canceller.start()
        self._metrics = MetricsThread(
            lambda: MetricsMirror(pb_utils.MetricFamily, metric_labels(args)),
            lambda: self._engine.statistics,
        )
        # The objects so far, some 400,000 of torch's, live as long as the process: a full
        # collection that visits them would stall every stream for a third of a second.
        gc.collect()
        gc.freeze()

    def execute(self, requests: list[Any]) -> None:
        """Accepts or refuses requests; other threads send their responses."""
        for request in requests:
            stream = ResponseStream(request, self._token_bytes)
            try:
                self._take(request, stream)
            except RequestError as error:
                log_refusal(stream.request_id, error)
                stream.send(_failure(error.message, error.code))
            except Exception:
                logger.exception(
                    "a request could not be taken", extra={"request_id": stream.request_id}
                )
                message = "the request could not be taken: see the server's log"
                stream.send(_failure(message, ErrorCode.INTERNAL))

    def finalize(self) -> None:
        """Waits up to `DRAIN_SECONDS` for open requests, then ends them."""
        self._stopping.set()
        self._built.registry.stop()
        self._engine.stop(DRAIN_SECONDS)
        self._sender.stop()
        self._metrics.stop()

    def _take(self, request: Any, stream: ResponseStream) -> None:
        refuse_parameters(request, tensors.STEERED_QWEN_INPUTS)
        values = read_values(request, tensors.STEERED_QWEN_INPUTS)
        if any(values.get(tensors.DESCRIBE.name, ())):
            stream.send(
                TokenChunk(finish_reason=FinishReason.STOP), describe(self._built, self._settings)
            )
            return
        if any(values.get(tensors.STOP.name, ())):
            self._cancel_by_id(stream)
            return
        sequence = self._engine.submit(
            parse_generation_request(values, self._settings.defaults),
            values.get(tensors.INPUT_IDS.name, []),
            partial(self._report, stream),
            stream.request_id,
        )
        self._open[sequence] = stream

    def _report(self, stream: ResponseStream, chunk: TokenChunk) -> None:
        """Sends a request's chunk, and logs how the request ended."""
        self._sender.put(stream, chunk)
        if chunk.finish_reason is not None:
            log_end(stream.request_id, chunk.finish_reason, chunk)

    def _cancel_by_id(self, stream: ResponseStream) -> None:
        request_id = stream.request_id
        if not request_id:
            raise InvalidArgumentError(
                "stop needs a request id: give the id of the request to be cancelled"
            )

        def report(count: int) -> None:
            chunk = TokenChunk(finish_reason=FinishReason.CANCELLED)
            if not count:
                reason = f"no request with the id {request_id!r} is running or waiting"
                chunk = _failure(reason, ErrorCode.NOT_FOUND)
            self._sender.put(stream, chunk)

        self._engine.cancel_by_id(request_id, report)

    def _cancel_abandoned(self) -> None:
        """Cancels requests whose clients have disconnected, while the model is loaded."""
        while not self._stopping.wait(CANCELLATION_POLL_SECONDS):
            for sequence, stream in list(self._open.items()):
                if sequence.finished:
                    del self._open[sequence]
                elif self._is_abandoned(stream):
                    self._engine.cancel(sequence)

    def _is_abandoned(self, stream: ResponseStream) -> bool:
        try:
            return stream.is_cancelled()
        except Exception:
            # The thread must go on for the other requests.
            logger.exception("Triton could not be asked about a client")
            return False


def _failure(message: str, code: ErrorCode) -> TokenChunk:
    return TokenChunk(finish_reason=FinishReason.ERROR, error=message, error_code=code)
