"""Sends chunks to Triton from a separate thread.

The engine's thread only appends to a queue. If chunks of a request pile up because sending is
slower than the engine, they are joined into one response: fewer responses, the same text.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

import triton_python_backend_utils as pb_utils

from triton_models.adapters.chunk_tensors import chunk_values
from triton_models.adapters.tensor_io import build_tensors
from triton_models.contract import tensors
from triton_models.engine.sequence import TokenChunk
from triton_models.text.token_bytes import TokenBytes

logger = logging.getLogger(__name__)


class ResponseStream:
    """Sends the responses of one request.

    Sending and `is_cancelled` exclude each other: the final response frees what the check reads,
    and Triton 2.51 crashes if it is checked during or after that.
    """

    def __init__(self, request: Any, token_bytes: TokenBytes) -> None:
        self._token_bytes = token_bytes
        self.request_id: str = request.request_id()
        self._sender = request.get_response_sender()
        self._outputs = frozenset(request.requested_output_names())
        self._lock = threading.Lock()
        self._closed = False

    def is_cancelled(self) -> bool:
        """Whether the client of a direct request has disconnected; a round trip to Triton."""
        with self._lock:
            return not self._closed and bool(self._sender.is_cancelled())

    def send(self, chunk: TokenChunk, description: str = "") -> None:
        """Sends a chunk, and the answer to `describe`; one with a finish reason is the last."""
        response = pb_utils.InferenceResponse(
            build_tensors(
                self._outputs,
                tensors.STEERED_QWEN_OUTPUTS,
                chunk_values(chunk, self._token_bytes, description),
            )
        )
        final = chunk.finish_reason is not None
        with self._lock:
            if self._closed:
                return
            self._closed = final
            self._sender.send(
                response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if final else 0
            )


class SenderThread:
    """Sends the chunks that the engine emits, in order."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[ResponseStream, TokenChunk] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._run, name="response-sender", daemon=True)
        self._thread.start()

    def put(self, stream: ResponseStream, chunk: TokenChunk) -> None:
        """Queues a chunk without blocking."""
        self._queue.put((stream, chunk))

    def stop(self) -> None:
        """Sends the queued chunks, then ends the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            pending = join_chunks([item for item in batch if item is not None])
            for stream, chunk in pending:
                try:
                    stream.send(chunk)
                except Exception:
                    # One client's broken stream must not silence the others.
                    logger.exception("a response could not be sent")
            if None in batch:
                return


def join_chunks(
    items: list[tuple[ResponseStream, TokenChunk]],
) -> list[tuple[ResponseStream, TokenChunk]]:
    """Joins the queued chunks of each request, in order."""
    joined: dict[int, tuple[ResponseStream, TokenChunk]] = {}
    for stream, chunk in items:
        earlier = joined.get(id(stream))
        joined[id(stream)] = (stream, earlier[1].followed_by(chunk) if earlier else chunk)
    return list(joined.values())
