"""A completion's events as the gateway writes them, fed to a reader."""

from __future__ import annotations

from typing import Any

from gateway.http.server_sent_events import format_event

DONE = {
    "success": True,
    "response": "Hello",
    "trait": "sarcasm",
    "scalar": 2.0,
    "tokens_generated": 2,
    "error": None,
    "finish_reason": "stop",
    "prompt_tokens": 4,
}


def feed(reader: Any, *events: tuple[str, Any]) -> list[Any]:
    text = "".join(format_event(name, data).decode() for name, data in events)
    return list(reader.feed(text))
