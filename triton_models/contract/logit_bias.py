"""Biases of single tokens' logits, parsed and validated from JSON."""

from __future__ import annotations

import reprlib
from typing import cast

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.json_input import parse_json

LogitBias = tuple[tuple[int, float], ...]
"""Token ids, each once, and what is added to their logits."""

MAX_BIASED_TOKENS = 300
MAX_LOGIT_BIAS = 100.0
"""The maximum number of tokens, and the largest bias, as in OpenAI's API."""

_MAX_DIGITS = 10
_EXAMPLE = '{"1234": -100}'


def parse_logit_bias(text: str) -> LogitBias:
    """Parses the `logit_bias` of a request.

    Args:
        text: A JSON object of token ids, which JSON writes as texts, and biases from -100 to 100.

    Raises:
        InvalidArgumentError: It is not such an object.
    """
    document = parse_json("logit_bias", text, _EXAMPLE)
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"logit_bias must be an object: {_EXAMPLE}")
    if len(document) > MAX_BIASED_TOKENS:
        raise InvalidArgumentError(
            f"logit_bias has {len(document)} tokens: the maximum is {MAX_BIASED_TOKENS}"
        )
    return tuple((_token_id(name), _bias(name, value)) for name, value in document.items())


def _token_id(name: str) -> int:
    # A second way to write an id could bias a token twice.
    if len(name) > _MAX_DIGITS or not name.isdecimal() or str(int(name)) != name:
        raise InvalidArgumentError(
            f"logit_bias has {reprlib.repr(name)}: name tokens by their ids, as in {_EXAMPLE}"
        )
    return int(name)


def _bias(name: str, value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and -MAX_LOGIT_BIAS <= (bias := cast(float, value)) <= MAX_LOGIT_BIAS:
        return float(bias)
    raise InvalidArgumentError(
        f"logit_bias has {reprlib.repr(value)} for the token {name}: give a number from "
        f"-{MAX_LOGIT_BIAS:g} to {MAX_LOGIT_BIAS:g}"
    )
