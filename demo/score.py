"""The trait score of the demo: how much of a text shows a trait, from its words alone.

It is the rule judge's count with the demo's own cues, from -1 to 1:

    score(text) = (sentences showing the trait - sentences showing its opposite) / sentences

so that 1 is a text whose every sentence shows the trait, -1 one that is all opposite, and 0 a
plain text. An answer "shows the trait" when its score is at least 0.5, and shows the opposite
when it is at most -0.5.
"""

from __future__ import annotations

from functools import cache

from persona_demo.traits import TRAITS
from persona_research.definitions import Cues
from persona_research.judges.rule import CueCounter

SHOWS_AT = 0.5
"""The score from which an answer counts as showing the trait."""


def sentence_pole(trait: str, sentence: str) -> int:
    """1 when a sentence shows the trait, -1 when it shows the opposite, 0 for neither or both."""
    return _counter(trait).pole(sentence)


def trait_score(trait: str, text: str) -> float:
    """The trait score of a text, in [-1, 1]; 0 for an empty text."""
    return _counter(trait).balance(text) or 0.0


@cache
def _counter(trait: str) -> CueCounter:
    return CueCounter(Cues(TRAITS[trait].positive.cues, TRAITS[trait].negative.cues))
