"""Inputs that are JSON."""

from __future__ import annotations

import json
from typing import Any

from triton_models.contract.errors import InvalidArgumentError

MAX_DEPTH = 100
"""How deeply lists and objects may stand in each other: chat templates go through them by
recursion."""


def parse_json(name: str, text: str, example: str) -> Any:
    """Parses an input that is JSON.

    Args:
        name: What the client calls it.
        text: Its value.
        example: What would be right.

    Raises:
        InvalidArgumentError: It is not JSON, is nested too deeply, or contains half of a surrogate
            pair, which is no text.
    """
    try:
        document = json.loads(text)
        # A half is in the text itself, or written as an escape.
        (json.dumps(document, ensure_ascii=False) if "\\u" in text else text).encode()
        if not is_shallow(document):
            raise RecursionError
    except RecursionError:
        raise InvalidArgumentError(
            f"{name} is nested too deeply: {MAX_DEPTH} levels are allowed"
        ) from None
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"{name} has half of a surrogate pair, which is not text: send proper Unicode"
        ) from None
    except ValueError as error:
        raise InvalidArgumentError(f"{name} is not valid JSON ({error}): send {example}") from error
    return document


def is_shallow(document: Any) -> bool:
    """Whether lists and objects stand in each other at most `MAX_DEPTH` deep."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return True
    return False
