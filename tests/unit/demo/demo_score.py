"""The rule judge's count with the demo's own cues."""

from __future__ import annotations

from functools import cache

from persona_demo.traits import TRAITS
from persona_research.definitions import Cues
from persona_research.judges.rule import CueCounter


def sentence_pole(trait: str, sentence: str) -> int:
    """1 when a sentence shows the trait, -1 when it shows the opposite, 0 for neither or both."""
    return _counter(trait).pole(sentence)


def trait_score(trait: str, text: str) -> float:
    """The trait score of a text, in [-1, 1]; 0 for an empty text."""
    return _counter(trait).balance(text) or 0.0


@cache
def _counter(trait: str) -> CueCounter:
    return CueCounter(Cues(TRAITS[trait].positive.cues, TRAITS[trait].negative.cues))
