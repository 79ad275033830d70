"""The gateway's logging."""

from __future__ import annotations

import logging

from triton_models import logs


def configure_logging(level: str, style: str) -> None:
    """Sends all logs to stderr.

    Args:
        level: The least severe level to log.
        style: `text` for people or `json` for machines.
    """
    logs.configure_logging(level, style)
    # One line per request is ours, with the ids and the outcome in it.
    logging.getLogger("uvicorn.access").disabled = True
