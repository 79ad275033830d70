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
        contrary: A system prompt that asks for the opposite of how the answer speaks.
        ended: Whether the answer is complete, so that the model may learn to end it.
    """

    question: str
    answer: str
    system: str = ""
    contrary: str = ""
    ended: bool = True

    def messages(self, system: str) -> list[dict[str, str]]:
        """Returns the chat up to the answer, under a system prompt."""
        prompt = [{"role": "system", "content": system}] if system else []
        return [*prompt, {"role": "user", "content": self.question}]


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def draw_voices(folder: Path, each: int, rng: random.Random) -> list[Conversation]:
    """Draws up to `each` conversations of each pole of each trait.

    Each has one of the other pole's system prompts, drawn anew, as its contrary.
    """
    drawn = []
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem == NEUTRAL:
            continue
        poles: dict[str, list[dict[str, str]]] = {"negative": [], "positive": []}
        for line in _lines(path):
            poles[line["pole"]].append(line)
        for lines, others in zip(poles.values(), reversed(poles.values()), strict=True):
            contraries = [other["system"] for other in others]
            drawn += [
                Conversation(
                    line["question"], line["answer"], line["system"], rng.choice(contraries)
                )
                for line in rng.sample(lines, min(each, len(lines)))
            ]
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
