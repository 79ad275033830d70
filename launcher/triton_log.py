"""Extracts from Triton's log why it could not load a model."""

from __future__ import annotations

import re

_FAILURE = re.compile(r"failed to load '(\w+)' version \d+: \w+: (?:\w+: )?(.*?)(?:\\n|\"$)", re.M)


def load_failures(log: str) -> list[str]:
    """Returns one line for each distinct reason why a model failed to load.

    Args:
        log: Triton's log, in its default format.
    """
    reasons: dict[str, str] = {}
    for model, reason in _FAILURE.findall(log):
        reasons.setdefault(reason, model)
    return [f"{model}: {reason}" for reason, model in reasons.items()]
