"""Inputs of requests to Triton."""

from __future__ import annotations

from typing import Any

PROMPT = "How do I bake bread?"
GREEDY: dict[str, Any] = {"text_input": PROMPT, "temperature": 0.0}
LONG: dict[str, Any] = {**GREEDY, "max_tokens": 900, "min_tokens": 900}
ONCE: dict[str, Any] = {}
STREAMED: dict[str, Any] = {"stream": True}
