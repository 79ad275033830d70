"""What a judge is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from persona_research.definitions import TraitDefinition

NEUTRAL = 50.0
"""The score of an answer that shows neither the trait nor its opposite."""


class JudgeError(Exception):
    """A judge cannot judge; the message says why and what to do."""


class Judge(Protocol):
    """Scores answers."""

    @property
    def name(self) -> str:
        """What to call it in a report: its kind, and its model if it has one."""

    @property
    def identity(self) -> str:
        """Names all that its scores depend on, besides the trait, the question and the answer."""

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers, each to the question at its place.

        Returns:
            0 for the trait's opposite, 50 for neither, 100 for the trait; `None` for a score that
            could not be had, which must be left out and counted, never taken for a number.

        Raises:
            JudgeError: It cannot judge at all.
        """
