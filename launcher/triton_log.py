"""Extracts from Triton's log why it could not load a model."""

from __future__ import annotations

import re

_FAILURE = re.compile(r"failed to load '(\w+)' version \d+: \w+: (?:\w+: )?(.*?)(?:\\n|\"$)", re.M)


def load_failures(log: str) -> list[str]:
    """Returns a line for each reason in Triton's log, of the default format, why a load failed."""
    reasons: dict[str, str] = {}
    for model, reason in _FAILURE.findall(log):
        reasons.setdefault(reason, model)
    return [f"{model}: {reason}" for reason, model in reasons.items()]
