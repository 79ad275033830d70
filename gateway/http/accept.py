"""Which media type a client prefers, by its `Accept` header."""

from __future__ import annotations

import re

_WEIGHT = re.compile(r"q\s*=\s*(?P<value>[01](?:\.\d{0,3})?)", re.IGNORECASE)


def prefers_html(accept: str) -> bool:
    """Whether a client would rather have HTML than JSON; one that takes either would not."""
    return _quality(accept, "text/html") > _quality(accept, "application/json")


def _quality(accept: str, media_type: str) -> float:
    """Returns how much a client wants a media type, from 0 to 1: its most specific range says."""
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    weights = _weights(accept)
    return next((weights[each] for each in ranges if each in weights), 0.0)


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in accept.split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        found = (_WEIGHT.fullmatch(parameter) for parameter in parameters)
        weight = next((float(match["value"]) for match in found if match), 1.0)
        name = media_range.lower()
        weights[name] = max(weights.get(name, 0.0), weight)
    return weights
