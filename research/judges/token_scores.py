"""The expected score of a reply that is one number: over the tokens that it could have been.

As in persona_vectors: the mean of the numbers 0 to 100 among a token's alternatives, weighted by
their probabilities. It is finer than the likeliest number, and less of a coin toss.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

_NUMBER = re.compile(r"[0-9]{1,3}")
_MIN_PROBABILITY = 0.25
"""What all numbers together must have; below that the model did not mean to give one."""


def expected_score(reply: str, tokens: Sequence[Any]) -> float | None:
    """Returns the mean of the numbers that a reply could have been, weighted by probability.

    Args:
        reply: What the model said.
        tokens: Its tokens, as `logprobs.content` of a chat completion has them.

    Returns:
        The score from 0 to 100; `None` if the reply is not one token that is a number, or if it
        cannot be known that the model's other numbers are one token each: where "85" is written as
        "8" and "5", the first token's alternatives are no scores.
    """
    number = reply.strip().rstrip(".")
    first = next((token for token in tokens if _text(token).strip()), None)
    if first is None or _text(first).strip() != number or not _NUMBER.fullmatch(number):
        return None
    alternatives = first.get("top_logprobs")
    if not isinstance(alternatives, list):
        return None
    likely = _probabilities(alternatives)
    total = sum(likely.values())
    if max((len(str(each)) for each in likely), default=0) < 2 or total < _MIN_PROBABILITY:
        return None
    return sum(score * probability for score, probability in likely.items()) / total


def _text(token: Any) -> str:
    text = token.get("token") if isinstance(token, Mapping) else None
    return text if isinstance(text, str) else ""


def _probabilities(alternatives: Sequence[Any]) -> dict[int, float]:
    """The probability of each number from 0 to 100; "85" and " 85" are two tokens of one."""
    found: dict[int, float] = {}
    for each in alternatives:
        text = _text(each).strip()
        logprob = each.get("logprob") if text else None
        if not isinstance(logprob, (int, float)) or not _NUMBER.fullmatch(text) or int(text) > 100:
            continue
        if logprob <= 0:  # neither NaN nor a probability above 1
            found[int(text)] = found.get(int(text), 0.0) + math.exp(logprob)
    return found
