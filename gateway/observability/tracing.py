"""Traces by OpenTelemetry, for those who have set where to send them.

All settings are OpenTelemetry's own variables. Without an address nothing is imported, nothing is
told, and requests cost nothing more.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.observability.spans import Spans

_logger = logging.getLogger(__name__)

_ADDRESSES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def open_tracing(settings: Settings) -> Spans | None:
    """Returns what makes spans and sends them, if it is wanted and installed."""
    if not any(os.environ.get(name) for name in _ADDRESSES):
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from gateway.observability.spans import Spans
    except ImportError as error:
        _logger.warning(
            "there will be no traces: in a clone of the project, pip install '.[telemetry]'",
            extra={"reason": str(error)},
        )
        return None
    return Spans(settings.shown_model_name, settings.triton_url)
