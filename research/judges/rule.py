"""A judge that counts wording: no model, no network, always the same.

A sentence shows a pole of a trait when one of the pole's cues is found in it, and none of the
other pole's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from persona_research.definitions import Cues, TraitDefinition
from persona_research.judges.judge import NEUTRAL, POINTS, JudgeError

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")

_PIECE = 200
_OVERLAP = 100
"""A longer sentence is searched in pieces of so many characters, so that no cue takes for ever: the
time grows with a piece's length cubed. What matches within 100 characters is always found."""


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, ends kept, empty ones dropped."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence.strip()]


class CueCounter:
    """Counts the sentences that show a trait or its opposite."""

    def __init__(self, cues: Cues) -> None:
        self._positive, self._negative = (
            tuple(re.compile(cue, re.IGNORECASE) for cue in pole)
            for pole in (cues.positive, cues.negative)
        )

    def pole(self, sentence: str) -> int:
        """1 when a sentence shows the trait, -1 for the opposite, 0 for neither or both."""
        return int(_shows(self._positive, sentence)) - int(_shows(self._negative, sentence))

    def balance(self, text: str) -> float | None:
        """The share of sentences that show the trait, less that of those that show the opposite.

        Returns:
            From -1 to 1, or `None` for a text without a sentence.
        """
        sentences = split_sentences(text)
        if not sentences:
            return None
        return sum(self.pole(sentence) for sentence in sentences) / len(sentences)


class RuleJudge:
    """Scores by the cues of the trait's definition: 50 + 50 * balance."""

    name = "rule"
    identity = "rule 1"
    scale = POINTS
    at_once = 32

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers; see `Judge`. An answer without a sentence has no score.

        Raises:
            JudgeError: The trait's definition has no cues.
        """
        if trait.cues is None:
            raise JudgeError(
                f"the definition of {trait.trait_name!r} has no cues, which the rule judge counts: "
                'add "cues": {"positive": [...], "negative": [...]}, or judge with a model'
            )
        counter = _counter(trait.cues)
        balances = [counter.balance(answer) for answer in answers]
        return [None if each is None else NEUTRAL + NEUTRAL * each for each in balances]


@lru_cache(maxsize=64)
def _counter(cues: Cues) -> CueCounter:
    return CueCounter(cues)


def _shows(patterns: Sequence[re.Pattern[str]], sentence: str) -> bool:
    step = _PIECE - _OVERLAP
    starts = range(0, max(len(sentence) - _OVERLAP, 1), step)
    pieces = [sentence[start : start + _PIECE] for start in starts]
    return any(pattern.search(piece) for piece in pieces for pattern in patterns)
