"""The types of the fields that requests share, and what the documentation says of them."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, Strict

from triton_models.contract.answer_format import FORMAT_TYPES, MAX_CHOICES
from triton_models.contract.logit_bias import MAX_BIASED_TOKENS, MAX_LOGIT_BIAS
from triton_models.contract.request import MAX_STOP_WORD_BYTES, MAX_TOP_LOGPROBS, unsigned_seed
from triton_models.contract.steering import MAX_LAYERS, MAX_TRAIT_CHARS, MAX_TRAITS, ScalarUnit
from triton_models.contract.values import nearest_float32

INT32_MAX = 2**31 - 1
FLOAT32_MAX = 3.4028234663852886e38


def _no_boolean(value: Any) -> Any:
    """Refuses true and false, which would pass for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number: give a number")
    return value


def _as_float32(value: float) -> float:
    """Refuses what the model's tensors cannot hold, so that no value changes on its way."""
    narrow = nearest_float32(value)
    if math.isinf(narrow):
        raise ValueError(f"{value:g} is too large: give a number of at most 3.4e38")
    if value and not narrow:
        raise ValueError(f"{value:g} is too small to have an effect: give 0 or a larger number")
    return value


def _as_utf8(value: str) -> str:
    """Refuses what JSON can say but UTF-8 cannot: half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} is half of a surrogate pair: send proper Unicode"
        ) from error
    return value


Text = Annotated[str, AfterValidator(_as_utf8)]
Boolean = Annotated[bool, Strict()]
"""True or false, and no number or text that could stand for one."""
Float32 = Annotated[
    float,
    Field(allow_inf_nan=False, json_schema_extra={"minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}),
    AfterValidator(_as_float32),
    BeforeValidator(_no_boolean),
]
Int32 = Annotated[int, Field(ge=-INT32_MAX, le=INT32_MAX), BeforeValidator(_no_boolean)]
Seed = Annotated[
    int,
    Field(ge=-(2**63), le=2**64 - 1),
    BeforeValidator(_no_boolean),
    AfterValidator(unsigned_seed),
]
TraitName = Annotated[Text, Field(max_length=MAX_TRAIT_CHARS)]


def is_none(value: object) -> bool:
    """Whether a field is left out that is shown only where it says something."""
    return value is None


def is_empty(value: Sized) -> bool:
    """As `is_none`, of a list."""
    return not value


def shown_range(low: float | None, high: float | None = None) -> dict[str, JsonValue]:
    """Returns what the documentation says about the bounds of a number.

    It is for the numbers whose bounds `parse_generation_request` knows and checks.
    """
    bounds: dict[str, JsonValue] = {"minimum": low, "maximum": high}
    return {name: bound for name, bound in bounds.items() if bound is not None}


TOP_LOGPROBS_RANGE = shown_range(0, MAX_TOP_LOGPROBS)
SHOWN_MONITOR: dict[str, JsonValue] = {"maxItems": MAX_TRAITS, "items": {"minLength": 1}}

SHOWN_LOGIT_BIAS: dict[str, JsonValue] = {
    "maxProperties": MAX_BIASED_TOKENS,
    "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,9})$"},
    "additionalProperties": {
        "type": "number",
        "minimum": -MAX_LOGIT_BIAS,
        "maximum": MAX_LOGIT_BIAS,
    },
}
"""The documentation of what `parse_logit_bias` knows and checks."""

SHOWN_FORMAT: dict[str, JsonValue] = {
    "properties": {
        "type": {"enum": [*FORMAT_TYPES]},
        "schema": {"type": "object", "description": "Of `json_schema`: the schema."},
        "pattern": {"type": "string", "description": "Of `regex`."},
        "choices": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "maxItems": MAX_CHOICES,
            "description": "Of `choice`: the texts.",
        },
        "grammar": {"type": "string", "description": "Of `grammar`."},
    },
    "required": ["type"],
    "additionalProperties": False,
}
"""The documentation of what `parse_answer_format` knows and checks."""

SOME_TEXT: JsonValue = {"type": "string", "pattern": "\\S"}
STOP_WORD: dict[str, JsonValue] = {"maxLength": MAX_STOP_WORD_BYTES}

PROMPT_OR_MESSAGES: list[JsonValue] = [
    {"required": ["prompt"], "properties": {"prompt": SOME_TEXT, "messages": {"type": "null"}}},
    {
        "required": ["messages"],
        "properties": {"prompt": {"enum": [None, ""]}, "messages": {"type": "array"}},
    },
]
"""The documentation of what `BaselineRequest` says about the two."""


Layers = Annotated[
    Annotated[list[Int32], Field(min_length=1, max_length=MAX_LAYERS, fail_fast=True)] | None,
    Field(description="Decoder blocks to steer, from 0. Default: the vector's own choice."),
]
Positions = Annotated[
    Literal["all", "prompt", "response"] | None,
    Field(description="Which tokens to steer. Default: all."),
]
OptionalScalarUnit = Annotated[
    ScalarUnit | None,
    Field(
        description=(
            "What a scalar counts: multiples of the vector, `raw`, or what asking in the system "
            "prompt does, `prompt`, for vectors that were measured so. Default: raw."
        )
    ),
]
