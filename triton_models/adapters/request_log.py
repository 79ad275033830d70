"""Logs how a request ended and how long it took, with its id and never its text.

The id is the one that the gateway gave the generation, so that a client's `X-Request-ID` leads to
these lines.
"""

from __future__ import annotations

import logging
from dataclasses import asdict

from triton_models.contract.errors import RequestError
from triton_models.engine.sequence import FinishReason, TokenChunk

logger = logging.getLogger(__name__)

_MAX_REASON_CHARS = 300
"""Messages quote values of the request, which may be arbitrarily long."""

_ENDINGS = {
    FinishReason.ERROR: (logging.WARNING, "a request failed"),
    FinishReason.CANCELLED: (logging.INFO, "a request was cancelled"),
}
# This runs on the engine's thread, so the normal case is logged at DEBUG only.
_FINISHED = (logging.DEBUG, "a request finished")


def log_refusal(request_id: str, error: RequestError) -> None:
    """Logs a request that was refused."""
    logger.info("a request was refused", extra=_fields(request_id, error.code.value, error.message))


def log_end(request_id: str, reason: FinishReason, chunk: TokenChunk) -> None:
    """Logs a request that has ended, with its last chunk."""
    level, message = _ENDINGS.get(reason, _FINISHED)
    if not logger.isEnabledFor(level):
        return
    fields = _fields(request_id, chunk.error_code.value if chunk.error_code else "", chunk.error)
    fields |= {
        "finish_reason": reason.value,
        "prompt_tokens": chunk.num_prompt_tokens,
        "tokens": chunk.num_generated_tokens,
    }
    for phase, seconds in asdict(chunk.phases).items() if chunk.phases else ():
        if seconds is not None:
            fields[f"{phase}_ms"] = round(seconds * 1000, 1)
    logger.log(level, message, extra=fields)


def _fields(request_id: str, code: str, reason: str) -> dict[str, object]:
    fields: dict[str, object] = {"request_id": request_id}
    if code:
        fields |= {"code": code, "reason": reason[:_MAX_REASON_CHARS]}
    return fields
