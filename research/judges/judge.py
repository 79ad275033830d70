"""What a judge is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from persona_research.definitions import TraitDefinition
from persona_research.errors import ResearchError

NEUTRAL = 50.0
"""The score, in points, of an answer that shows neither the trait nor its opposite."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a judge's scores mean: those of different scales are never put together.

    Attributes:
        name: What a score is called, in columns and reports.
        unit: Its unit.
        neutral: The score of an answer that shows neither the trait nor its opposite; `None` if
            that depends on the model and the question.
        span: What lies between the trait's opposite and the trait; `None` if that is what lies
            between the answers that system prompts ask for.
        form: How a score is written, a format of Python's.
    """

    name: str
    unit: str
    neutral: float | None
    span: float | None
    form: str

    def separates(self, positive: float, negative: float) -> bool:
        """Whether a positive answer and a negative one to one question show what they should."""
        if self.neutral is None:
            return positive > negative
        return positive > self.neutral > negative


POINTS = Scale("score", "points of 100", NEUTRAL, 100.0, ".0f")
"""0 is the trait's opposite, 50 neither, 100 the trait."""

CONTRAST = Scale("contrast", "nats per token", None, None, ".3f")
"""How much better the trait's system prompts explain an answer than its opposite's."""


class JudgeError(ResearchError):
    """A judge cannot judge; the message says why and what to do."""


class Judge(Protocol):
    """Scores answers."""

    @property
    def name(self) -> str:
        """What to call it in a report: its kind, and its model if it has one."""

    @property
    def identity(self) -> str:
        """Names all that its scores depend on, besides the trait, the question and the answer."""

    @property
    def scale(self) -> Scale:
        """What its scores mean."""

    @property
    def at_once(self) -> int:
        """How many answers to score at a time: what a run that is cut off can lose."""

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers, each to the question at its place.

        Returns:
            Scores on the judge's scale, higher for more of the trait; `None` for one that could
            not be had, which must be left out and counted, never taken for a number.

        Raises:
            JudgeError: It cannot judge at all.
        """
