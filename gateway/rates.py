"""Limits as people write them, such as `60/minute`."""

from __future__ import annotations

from typing import Annotated

from limits import RateLimitItem, parse_many
from pydantic import AfterValidator

UNLIMITED = "unlimited"


def parse_rate(text: str) -> RateLimitItem | None:
    """Returns a limit, or `None` for `unlimited` and for no text at all.

    Raises:
        ValueError: The text is no limit.
    """
    if text in ("", UNLIMITED):
        return None
    try:
        rates = parse_many(text)
    except ValueError:
        rates = []
    if len(rates) > 1:
        raise ValueError(f"give one limit, not {len(rates)}, such as 60/minute")
    if not rates or rates[0].amount < 1:
        raise ValueError(f"write a limit like 60/minute or 1000/hour, or {UNLIMITED}")
    return rates[0]


def _checked(text: str) -> str:
    parse_rate(text)
    return text


Rate = Annotated[str, AfterValidator(_checked)]
"""A limit's text."""
