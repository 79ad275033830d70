"""One line in the log for each request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from gateway.request_record import GenerationRecord, Observer, RequestRecord

_logger = logging.getLogger(__name__)

QUIET_ROUTES = frozenset({"/health", "/health/ready", "/metrics"})
"""What is asked for every few seconds by machines."""

_MAX_FIELD_CHARS = 300
"""Of a text in a line: clients make paths and traits' names as long as they like."""


class AccessLog(Observer):
    """Logs requests when they have ended."""

    def request_ended(self, request: RequestRecord) -> None:
        """Logs the line."""
        if request.status >= 500:
            level = logging.WARNING
        elif request.route in QUIET_ROUTES:
            level = logging.DEBUG
        else:
            level = logging.INFO
        if _logger.isEnabledFor(level):
            _logger.log(level, "request", extra=_fields(request))


def _fields(request: RequestRecord) -> dict[str, Any]:
    fields = {
        "method": request.method,
        "path": request.path,
        "route": request.route,
        "status": request.status,
        "outcome": request.outcome,
        "ms": round(request.seconds * 1000, 1),
        "request_id": request.id,
    }
    if request.trace_id:
        fields["trace_id"] = request.trace_id
    # What handlers say is about the whole answer, and so goes before what its parts add up to.
    fields |= {**_fields_of_generations(request.generations), **request.log_fields}
    return {name: _short(value) for name, value in fields.items()}


def _short(value: Any) -> Any:
    return value[:_MAX_FIELD_CHARS] if isinstance(value, str) else value


def _fields_of_generations(generations: Sequence[GenerationRecord]) -> dict[str, Any]:
    if not generations:
        return {}
    if len(generations) == 1:
        (only,) = generations
        return {**_identity(only), **_tokens(generations), **_times(only)}
    return {"generations": [_identity(each) for each in generations], **_tokens(generations)}


def _identity(generation: GenerationRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "triton_id": generation.triton_id,
        "finish_reason": "abandoned" if generation.given_up else generation.finish_reason,
        "steering": {_short(trait): scalar for trait, scalar in generation.steering.items()},
    }
    if generation.operations:
        fields["operations"] = [_short(name) for name in generation.operation_names]
    error = generation.error
    if error is not None:
        reason = _short(error.detail or error.message)
        fields |= {"finish_reason": "error", "code": error.code, "reason": reason}
    return fields


def _tokens(generations: Sequence[GenerationRecord]) -> dict[str, int]:
    return {
        "prompt_tokens": sum(each.prompt_tokens for each in generations),
        "tokens": sum(each.tokens for each in generations),
    }


def _times(generation: GenerationRecord) -> dict[str, float]:
    seconds = {f"engine_{phase}": value for phase, value in generation.phases.items()}
    if generation.first_token_seconds is not None:
        seconds["first_token"] = generation.first_token_seconds
    return {f"{name}_ms": round(value * 1000, 1) for name, value in seconds.items()}
