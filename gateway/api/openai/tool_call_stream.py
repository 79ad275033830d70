"""Finds the calls of tools in an answer's text, as the text comes.

A call is written as Qwen2.5 writes it, and other models in the manner of Hermes: a JSON object with
the function's name and its arguments, between two markers. A call is known to be one only when it
is complete, so it is held back until then; what proves to be no call remains text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

OPEN = "<tool_call>"
CLOSE = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call of a function.

    Attributes:
        name: The function's name.
        arguments: Its arguments, a JSON object as text.
    """

    name: str
    arguments: str


class ToolCallStream:
    """Splits an answer into text and calls.

    White space between text and calls belongs to neither; texts with calls between them are
    separated by a line end.

    Args:
        names: The functions that can be called.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held = ""
        self._follows_call = False
        self._has_text = False

    def push(self, text: str) -> Iterator[str | ParsedCall]:
        """Takes more of the answer, and yields what it is now known to consist of."""
        self._held += text
        while (start := self._held.find(OPEN)) >= 0:
            end, call = self._find_call(start + len(OPEN))
            if end < 0:
                yield from self._release(len(self._held[:start].rstrip()))
                return
            if call is None:
                yield from self._release(start + len(OPEN))
                continue
            rest = self._held[end:].lstrip()
            yield from self._release(len(self._held[:start].rstrip()))
            self._held, self._follows_call = rest, True
            yield call
        yield from self._release(len(_without_beginning(self._held).rstrip()))

    def finish(self) -> Iterator[str | ParsedCall]:
        """Yields the rest of an answer that has ended."""
        start = self._held.find(OPEN)
        # Models forget to close the last call.
        call = self._parse(self._held[start + len(OPEN) :])[0] if start >= 0 else None
        if call is None:
            yield from self._release(len(self._held))
            return
        yield from self._release(len(self._held[:start].rstrip()))
        yield call

    def _release(self, length: int) -> Iterator[str]:
        """Yields the beginning of what is held as text."""
        text, self._held = self._held[:length], self._held[length:]
        if self._follows_call:
            text = text.lstrip()
        if text:
            separator = "\n" if self._follows_call and self._has_text else ""
            self._follows_call, self._has_text = False, True
            yield separator + text

    def _find_call(self, start: int) -> tuple[int, ParsedCall | None]:
        """Finds the call that begins at a place.

        Returns:
            Where it ends, and the call, if it is one; -1 if more text could make it one.
        """
        end = start
        while (end := self._held.find(CLOSE, end)) >= 0:
            call, is_cut = self._parse(self._held[start:end])
            end += len(CLOSE)
            if not is_cut:
                return end, call
        return -1, None

    def _parse(self, text: str) -> tuple[ParsedCall | None, bool]:
        """Returns the call that a text is, and whether the text ends within a string."""
        try:
            call = json.loads(text, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            # A marker within an argument ends nothing.
            return None, error.msg.startswith("Unterminated string")
        except (ValueError, RecursionError):
            return None, False
        return self._checked(call), False

    def _checked(self, call: Any) -> ParsedCall | None:
        name = call.get("name") if isinstance(call, dict) else None
        arguments = call.get("arguments", {}) if isinstance(call, dict) else None
        if not isinstance(name, str) or name not in self._names or not isinstance(arguments, dict):
            return None
        try:
            text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            text.encode()
        except ValueError:  # a number too large to be one, or half of a surrogate pair
            return None
        return ParsedCall(name, text)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _without_beginning(text: str) -> str:
    """Returns a text without what could be the beginning of a call at its end."""
    for length in range(min(len(OPEN) - 1, len(text)), 0, -1):
        if text.endswith(OPEN[:length]):
            return text[:-length]
    return text
