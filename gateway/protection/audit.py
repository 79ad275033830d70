"""The audit log: who steered what, and how it went, as one JSON object per line.

Lines are written by a thread of their own, so that no disk holds up a stream. The file is opened
again when it has been renamed or removed: logrotate and its like need no signal.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import stat
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, WatchedFileHandler
from pathlib import Path
from typing import Any

from gateway.caller import NOBODY
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import SteeringRefusedError
from gateway.protection.configuration import ConfigurationError
from gateway.request_record import GenerationRecord, Observer, RequestRecord

_logger = logging.getLogger(__name__)

STDOUT = "stdout"

_MAX_WAITING = 100_000
"""Lines that may wait for a disk that hangs; after that they are lost, which the log says."""

_COMPLAIN_SECONDS = 60.0
_WRITES = ("PUT", "DELETE")


class AuditLog(Observer):
    """Writes steered generations, refused steering and changes of vectors to a file or `stdout`.

    Raises:
        ConfigurationError: The file cannot be written.
    """

    def __init__(self, target: str, with_text: bool) -> None:
        self.wants_text = with_text
        try:
            handler: logging.Handler = (
                logging.StreamHandler(sys.stdout)
                if target == STDOUT
                else _PrivateFileHandler(Path(target), encoding="utf-8")
            )
        except OSError as error:
            reason = error.strerror
            raise ConfigurationError(f"AUDIT_LOG {target} cannot be written: {reason}") from error
        waiting: queue.Queue[logging.LogRecord] = queue.Queue(_MAX_WAITING)
        self._handler = _BoundedQueueHandler(waiting)
        self._listener = QueueListener(waiting, handler)
        self._listener.start()

    def close(self) -> None:
        """Writes what is waiting."""
        self._listener.stop()
        for handler in self._listener.handlers:
            handler.close()

    def generation_ended(self, generation: GenerationRecord) -> None:
        """Writes down a generation that was steered, or reached a limit."""
        record = generation
        if not (record.steering or record.operations or record.vectors or record.limits_reached):
            return
        fields: dict[str, Any] = {
            **_steering(generation.steering, generation.parameters, generation.vectors),
            "outcome": generation.outcome,
            "finish_reason": generation.finish_reason,
            "prompt_tokens": generation.prompt_tokens,
            "tokens": generation.tokens,
            "triton_id": generation.triton_id,
        }
        if generation.limits_reached:
            fields["limits_reached"] = generation.limits_reached
        if generation.error is not None:
            fields["code"] = generation.error.code
        if self.wants_text:
            fields |= {"text": dict(generation.texts), "answer": generation.answer}
        self._write("generation", generation.request, fields)

    def refused(
        self, request: RequestRecord | None, asked: EnsembleRequest, error: SteeringRefusedError
    ) -> None:
        """Writes down steering that the policy forbids."""
        steering = _steering(asked.scalars, asked.values, asked.vector_digests)
        fields = {**steering, "outcome": "refused", "reason": error.message}
        self._write("refusal", request, fields)

    def request_ended(self, request: RequestRecord) -> None:
        """Writes down what somebody changed, or tried to, with or without a key."""
        if request.method in _WRITES:
            fields = {
                "method": request.method,
                "path": request.path[:200],
                "status": request.status,
                "outcome": request.outcome,
            }
            self._write("change", request, fields)

    def _write(self, event: str, request: RequestRecord | None, fields: Mapping[str, Any]) -> None:
        caller = (request and request.caller) or NOBODY
        client = (request and request.scope.get("client")) or ("",)
        line = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "event": event,
            "request_id": request.id if request else "",
            "key": caller.key_name,
            "role": caller.role,
            "client": caller.address or client[0],
            "route": request.route if request else "",
            **fields,
        }
        message = json.dumps(line, default=str)
        self._handler.handle(logging.makeLogRecord({"msg": message}))


def _steering(
    steering: Mapping[str, float], parameters: Mapping[str, Any], vectors: Mapping[str, str]
) -> dict[str, Any]:
    fields = {
        "traits": list(steering),
        "scalars": list(steering.values()),
        "layers": list(parameters.get("layers", ())) or None,
        "positions": next(iter(parameters.get("positions", ())), "all"),
    }
    if "steering" in parameters:
        fields["steering"] = json.loads(parameters["steering"][0])
    if vectors:
        fields["vectors"] = dict(vectors)
    return fields


class _Complaining(logging.Handler):
    """Says how many lines are lost."""

    _lost = 0
    _complain_at = 0.0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Says so now and then, rather than for each."""
        self._lost += 1
        now = time.monotonic()
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAIN_SECONDS
            _logger.error("the audit log loses lines", extra={"lost": self._lost})


class _PrivateFileHandler(_Complaining, WatchedFileHandler):
    """Opens a file that nobody else may read, and opens it again when it has been moved away."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            try:
                os.fchmod(descriptor, 0o600)
            except OSError:
                _logger.warning("others can read the audit log, and its mode cannot be changed")
        # Unbuffered, so that a line is one write, which no other worker's can cut in two.
        file = os.fdopen(descriptor, "ab", buffering=0)
        return TextIOWrapper(file, encoding=self.encoding, write_through=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line; one that cannot be written must not end the thread that writes them."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)


class _BoundedQueueHandler(_Complaining, QueueHandler):
    """Loses records when the queue is full, rather than wait or let it grow."""
