"""The trait score: how much of a text shows a trait, from its words alone.

A sentence shows a pole of a trait when one of the pole's cues (regular expressions, listed beside
the trait's sentences in `demo/traits/`) is found in it, and none of the other pole's.

    score(text) = (sentences showing the trait - sentences showing its opposite) / sentences

so that 1 is a text whose every sentence shows the trait, -1 one that is all opposite, and 0 a
plain text. An answer "shows the trait" when its score is at least 0.5, and shows the opposite
when it is at most -0.5.
"""

from __future__ import annotations

import re
from functools import cache

from demo.traits import TRAITS, Pole

SHOWS_AT = 0.5
"""The score from which an answer counts as showing the trait."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, ends kept, empty ones dropped."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


@cache
def _cue_pattern(trait: str, positive: bool) -> re.Pattern[str]:
    pole: Pole = TRAITS[trait].positive if positive else TRAITS[trait].negative
    return re.compile("|".join(f"(?:{cue})" for cue in pole.cues), re.IGNORECASE)


def sentence_pole(trait: str, sentence: str) -> int:
    """1 when a sentence shows the trait, -1 when it shows the opposite, 0 for neither or both."""
    positive = bool(_cue_pattern(trait, True).search(sentence))
    negative = bool(_cue_pattern(trait, False).search(sentence))
    return int(positive) - int(negative)


def trait_score(trait: str, text: str) -> float:
    """The trait score of a text, in [-1, 1]; 0 for an empty text."""
    sentences = split_sentences(text)
    if not sentences:
        return 0.0
    return sum(sentence_pole(trait, sentence) for sentence in sentences) / len(sentences)
