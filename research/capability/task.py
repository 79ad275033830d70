"""Tasks: questions, each with choices of which one is right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_research.errors import ResearchError, why_unreadable


class CapabilityError(ResearchError):
    """A task, or results, that cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question of a task.

    Attributes:
        choices: What could answer it, at least two different texts.
        answer: The index of the right one.
    """

    question: str
    choices: tuple[str, ...]
    answer: int


def read_task(path: Path) -> list[Item]:
    """Reads a task: a JSON object on each line, with `question`, `choices` and `answer`.

    `answer` is the index of the right choice, from 0. Other fields are left alone. This is how
    MMLU and many others are published.

    Raises:
        CapabilityError: The file cannot be read, or a line is no such object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CapabilityError(f"{path} cannot be read: {why_unreadable(error)}") from None
    items = [
        _item(line, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not items:
        raise CapabilityError(f"{path} has no questions")
    return items


def _item(line: str, place: str) -> Item:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CapabilityError(f"{place} is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise CapabilityError(f"{place} must be an object with question, choices and answer")
    question: Any = fields.get("question")
    choices, answer = fields.get("choices"), fields.get("answer")
    if not _is_text(question):
        raise CapabilityError(f"{place}: question must be a text that is not empty")
    if not isinstance(choices, list) or not all(map(_is_text, choices)):
        raise CapabilityError(f"{place}: choices must be a list of texts that are not empty")
    texts = tuple(choice.strip() for choice in choices)
    if len(set(texts)) != len(texts) or len(texts) < 2:
        raise CapabilityError(f"{place}: choices must be at least two different texts")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(texts):
        raise CapabilityError(
            f"{place}: answer must be the index of the right choice, from 0 to {len(texts) - 1}"
        )
    return Item(question, texts, answer)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
