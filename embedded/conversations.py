"""What the adapter is trained on: the two voices of each trait, and the model's own answers."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NEUTRAL = "neutral"


@dataclass(frozen=True)
class Conversation:
    """A question with its answer.

    Attributes:
        system: The system prompt; without one the model has that of its chat template.
        contrary: A system prompt that asks for the opposite of how the answer speaks.
        poles: For an answer that shows no trait, a system prompt for each pole of some trait:
            neither is to explain the answer better than the other.
        ended: Whether the answer is complete, so that the model may learn to end it.
    """

    question: str
    answer: str
    system: str = ""
    contrary: str = ""
    poles: tuple[str, str] | None = None
    ended: bool = True

    def messages(self, system: str) -> list[dict[str, str]]:
        """Returns the chat up to the answer, under a system prompt."""
        prompt = [{"role": "system", "content": system}] if system else []
        return [*prompt, {"role": "user", "content": self.question}]


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


@dataclass(frozen=True)
class Voices:
    """A trait's conversations, by pole."""

    positive: Sequence[Mapping[str, str]]
    negative: Sequence[Mapping[str, str]]

    def draw_poles(self, rng: random.Random) -> tuple[str, str]:
        """Draws a system prompt of each pole."""
        return rng.choice(self.positive)["system"], rng.choice(self.negative)["system"]


def read_voices(folder: Path) -> dict[str, Voices]:
    """Returns the conversations of each trait."""
    voices = {}
    for path in sorted(folder.glob("*.jsonl")):
        if path.stem != NEUTRAL:
            poles: dict[str, list[dict[str, str]]] = {"positive": [], "negative": []}
            for line in _lines(path):
                poles[line["pole"]].append(line)
            voices[path.stem] = Voices(**poles)
    return voices


def draw_voices(voices: Mapping[str, Voices], each: int, rng: random.Random) -> list[Conversation]:
    """Draws up to `each` conversations of each pole of each trait.

    Each has one of the other pole's system prompts, drawn anew, as its contrary.
    """
    return [
        Conversation(line["question"], line["answer"], line["system"], rng.choice(others)["system"])
        for trait in voices.values()
        for lines, others in (
            (trait.negative, trait.positive),
            (trait.positive, trait.negative),
        )
        for line in rng.sample(lines, min(each, len(lines)))
    ]


def read_neutral(
    folder: Path, voices: Mapping[str, Voices], rng: random.Random
) -> list[Conversation]:
    """Returns the conversations in no particular voice, each beside the poles of some trait."""
    traits = list(voices.values())
    return [
        Conversation(line["question"], line["answer"], poles=rng.choice(traits).draw_poles(rng))
        for line in _lines(folder / f"{NEUTRAL}.jsonl")
    ]


def draw_questions(
    voices: Mapping[str, Voices], count: int, rng: random.Random
) -> list[Conversation]:
    """Draws questions, each once, for the model to answer as it does by itself.

    Each is beside the poles of the trait that its question was written for.
    """
    asked = {
        line["question"]: trait
        for trait in voices.values()
        for line in (*trait.positive, *trait.negative)
    }
    return [
        Conversation(question, answer="", poles=asked[question].draw_poles(rng))
        for question in rng.sample(sorted(asked), min(count, len(asked)))
    ]
