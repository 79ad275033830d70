"""What the adapter is trained on: the two voices of each trait, and the model's own answers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

NEUTRAL = "neutral"


@dataclass(frozen=True)
class Conversation:
    """A question with its answer.

    Attributes:
        system: The system prompt; without one the model has that of its chat template.
        ended: Whether the answer is complete, so that the model may learn to end it.
    """

    question: str
    answer: str
    system: str = ""
    ended: bool = True

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat up to the answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.question}]


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def draw_voices(folder: Path, each: int, rng: random.Random) -> list[Conversation]:
    """Draws up to `each` conversations of each pole of each trait."""
    drawn = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem == NEUTRAL:
            continue
        poles: dict[str, list[Conversation]] = {}
        for line in _lines(path):
            said = Conversation(line["question"], line["answer"], line["system"])
            poles.setdefault(line["pole"], []).append(said)
        for pole in sorted(poles):
            drawn += rng.sample(poles[pole], min(each, len(poles[pole])))
    return drawn


def read_neutral(folder: Path) -> list[Conversation]:
    """Returns the conversations in no particular voice."""
    lines = _lines(folder / f"{NEUTRAL}.jsonl")
    return [Conversation(line["question"], line["answer"]) for line in lines]


def draw_questions(folder: Path, count: int, rng: random.Random) -> list[str]:
    """Draws questions, each once, for the model to answer as it does by itself."""
    questions: Sequence[str] = sorted(
        {line["question"] for path in folder.glob("*.jsonl") for line in _lines(path)}
    )
    return rng.sample(questions, min(count, len(questions)))
