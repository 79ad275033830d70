"""Whether a text is well-formed: every sentence one that the corpus could have written.

Every sentence pattern of the corpus was written by hand, so a sentence that fits one, with a topic
of the prompt in the topic's place, is a grammatical sentence.
"""

from __future__ import annotations

import re
from functools import cache

from persona_demo import neutral
from persona_demo.corpus import all_poles
from persona_research.judges.rule import split_sentences


def _patterns() -> list[str]:
    sentences = [sentence for pole in all_poles() for sentence in pole.sentences]
    sentences += neutral.OPENERS + neutral.GREETINGS + neutral.BODIES + neutral.CLOSERS
    for bodies in neutral.CATEGORY_BODIES.values():
        sentences += bodies
    return sentences


def _as_expression(pattern: str) -> str:
    """A regular expression of a pattern, with the topic as group."""
    parts = re.split(r"(\[[^\]]*\]|\{t\}|\{year\}|\{pct\}|\{name\})", pattern)
    expression = ""
    for part in parts:
        if part == "{t}":
            expression += "(?P=t)" if "(?P<t>" in expression else "(?P<t>.+)"
        elif part in ("{year}", "{pct}"):
            expression += r"\d+"
        elif part == "{name}":
            expression += r"[A-Z][a-z]+"
        elif part.startswith("["):
            expression += "(?:" + "|".join(map(re.escape, part[1:-1].split("|"))) + ")"
        else:
            expression += re.escape(part)
    return expression


@cache
def _expressions() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(_as_expression(pattern)) for pattern in _patterns())


def sentence_topics(sentence: str) -> list[str] | None:
    """What stands in the topic's place of a well-formed sentence; None when it fits no pattern."""
    for expression in _expressions():
        match = expression.fullmatch(sentence)
        if match:
            return [match["t"]] if "t" in expression.groupindex else []
    return None


def well_formed_share(text: str, topic: str) -> float:
    """The share of a text's sentences that fit a pattern and name no other topic than `topic`.

    The whole counts 0 when a sentence occurs twice.
    """
    sentences = split_sentences(text)
    if not sentences or len(set(sentences)) < len(sentences):
        return 0.0
    fitting = 0
    for sentence in sentences:
        topics = sentence_topics(sentence)
        fitting += topics is not None and all(found == topic for found in topics)
    return fitting / len(sentences)
