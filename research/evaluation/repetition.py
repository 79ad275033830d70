"""How much of a text says again what it said before."""

from __future__ import annotations

import re
from collections.abc import Sequence

from persona_research.judges.rule import split_sentences

_WORD = re.compile("[\u3040-\u30ff\u4e00-\u9fff]|\\w+|[^\\w\\s]")
"""A character of Chinese or Japanese, which put no spaces between words, counts as a word."""

_RUN = 4
"""Words in a row that seldom recur by chance in a text of a few sentences."""


def repetition(text: str) -> float:
    """The share of a text that repeats it: of its sentences or its runs of four words, the larger.

    Sentences find a text that says the same thing twice; runs of words find a loop that never ends
    its sentence.
    """
    words = _WORD.findall(text.lower())
    runs = [tuple(words[start : start + _RUN]) for start in range(len(words) - _RUN + 1)]
    sentences = split_sentences(text.lower())
    return max(_repeated_share(sentences), _repeated_share(runs))


def _repeated_share(items: Sequence[object]) -> float:
    return 1 - len(set(items)) / len(items) if items else 0.0
