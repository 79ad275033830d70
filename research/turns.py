"""The questions of a trait under its system prompts, as requests for answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from persona_research.answering import chat, derived_seed
from persona_research.errors import ResearchError
from persona_research.model import AnswerRequest, ResearchModel
from persona_research.neutral_questions import NEUTRAL_QUESTIONS


class AnswerSettingsError(ResearchError):
    """Answers cannot be generated like that; the message says why."""


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are generated.

    Attributes:
        temperature: 0 takes the most likely answer.
        samples: Answers per system prompt and question; more than 1 needs a temperature.
        neutral_questions: How many of `NEUTRAL_QUESTIONS` a calibration asks besides the trait's.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    samples: int = 1
    seed: int = 0
    neutral_questions: int = field(default=len(NEUTRAL_QUESTIONS), kw_only=True)

    def __post_init__(self) -> None:
        check_samples(self.samples, self.temperature)


def check_samples(samples: int, temperature: float) -> None:
    """Makes sure that several answers to one question can differ.

    Raises:
        AnswerSettingsError: They cannot.
    """
    if samples > 1 and not temperature:
        raise AnswerSettingsError("more than one sample needs a temperature: all would be the same")


@dataclass(frozen=True)
class Turn:
    """One answer to ask for: what is said before it, and which of several it is."""

    system_prompt: str
    question: str
    sample: int

    def request(self, model: ResearchModel, settings: AnswerSettings) -> AnswerRequest:
        """Returns the request; it depends on nothing else, so that a store finds its answer."""
        return AnswerRequest(
            model.encode_chat(chat(self.question, self.system_prompt)),
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=derived_seed(settings.seed, self.system_prompt, self.question, self.sample),
        )


def turns_of(
    system_prompts: Sequence[str], questions: Sequence[str], settings: AnswerSettings
) -> list[Turn]:
    """Returns every question under every system prompt, prompt by prompt; `""` is none."""
    return [
        Turn(system_prompt, question, sample)
        for system_prompt in system_prompts
        for question in questions
        for sample in range(settings.samples)
    ]
