"""The bodies of requests and responses."""

from __future__ import annotations

import math
import struct
from collections.abc import Sized
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo
from typing_extensions import TypedDict

from triton_models.request import (
    MAX_LAYERS,
    MAX_STOP_WORD_BYTES,
    MAX_STOP_WORDS,
    MAX_TOP_LOGPROBS,
    MAX_TRAIT_CHARS,
    MAX_TRAITS,
)

INT32_MAX = 2**31 - 1
FLOAT32_MAX = 3.4028234663852886e38


def _no_boolean(value: Any) -> Any:
    """Refuses true and false, which would pass for 1 and 0.

    Raises:
        ValueError: The value is one of them.
    """
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number: give a number")
    return value


def _as_float32(value: float) -> float:
    """Refuses what the model's tensors cannot hold, so that no value changes on its way.

    Raises:
        ValueError: The value would become infinite, or zero.
    """
    try:
        (narrow,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        narrow = math.inf
    if math.isinf(narrow):
        raise ValueError(f"{value:g} is too large: give a number of at most 3.4e38")
    if value and not narrow:
        raise ValueError(f"{value:g} is too small to have an effect: give 0 or a larger number")
    return value


def _as_utf8(value: str) -> str:
    """Refuses what JSON can say but UTF-8 cannot: half of a surrogate pair.

    Raises:
        ValueError: The text has one.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"character {error.start} is half of a surrogate pair: send proper Unicode"
        ) from error
    return value


Text = Annotated[str, AfterValidator(_as_utf8)]
Float32 = Annotated[
    float,
    Field(
        allow_inf_nan=False,
        json_schema_extra={"minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX},
    ),
    AfterValidator(_as_float32),
    BeforeValidator(_no_boolean),
]
Int32 = Annotated[int, Field(ge=-INT32_MAX, le=INT32_MAX), BeforeValidator(_no_boolean)]
UInt64 = Annotated[int, Field(ge=0, le=2**64 - 1), BeforeValidator(_no_boolean)]
TraitName = Annotated[Text, Field(max_length=MAX_TRAIT_CHARS)]


def shown_range(low: float | None, high: float | None = None) -> dict[str, JsonValue]:
    """Returns what the documentation says about the bounds of a number.

    It is for the numbers whose bounds `parse_generation_request` knows and checks.
    """
    bounds: dict[str, JsonValue] = {"minimum": low, "maximum": high}
    return {name: bound for name, bound in bounds.items() if bound is not None}


TOP_LOGPROBS_RANGE = shown_range(0, MAX_TOP_LOGPROBS)
SHOWN_MONITOR: dict[str, JsonValue] = {"maxItems": MAX_TRAITS, "items": {"minLength": 1}}

_SOME_TEXT: JsonValue = {"type": "string", "pattern": "\\S"}
_STOP_WORD: dict[str, JsonValue] = {"minLength": 1, "maxLength": MAX_STOP_WORD_BYTES}

PROMPT_OR_MESSAGES: list[JsonValue] = [
    {"required": ["prompt"], "properties": {"prompt": _SOME_TEXT, "messages": {"type": "null"}}},
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


class TraitScalar(BaseModel):
    """A trait, and how strongly to steer by it."""

    model_config = ConfigDict(extra="forbid")

    name: TraitName = Field(min_length=1, description="The trait; see `/api/v1/traits`.")
    scalar: Float32 = Field(
        description="How strongly: positive for more of the trait, negative for less, 0 for none."
    )


class Steering(BaseModel):
    """What to steer an answer by; several traits add up."""

    model_config = ConfigDict(extra="forbid")

    traits: list[TraitScalar] = Field(fail_fast=True, min_length=1, max_length=MAX_TRAITS)
    layers: Layers = None
    positions: Positions = None


class ChatMessage(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


class Sampling(BaseModel):
    """How to choose the tokens of an answer."""

    max_tokens: Int32 | None = Field(
        default=None,
        description="The most tokens to generate. Default: MAX_TOKENS (200).",
        json_schema_extra=shown_range(1),
    )
    min_tokens: Int32 | None = Field(
        default=None,
        description="The least tokens to generate before the model may end the answer.",
        json_schema_extra=shown_range(0),
    )
    temperature: Float32 | None = Field(
        default=None,
        description="0 always takes the most likely token. Default: TEMPERATURE (0.8).",
        json_schema_extra=shown_range(0, 2),
    )
    top_p: Float32 | None = Field(
        default=None,
        description="Probability that the candidates must reach. Default: TOP_P (0.9).",
        json_schema_extra={"exclusiveMinimum": 0, "maximum": 1},
    )
    top_k: Int32 | None = Field(
        default=None,
        description="Number of candidates; 0 is all. Default: 50.",
        json_schema_extra=shown_range(-1),
    )
    min_p: Float32 | None = Field(
        default=None,
        description="Least probability of a candidate, relative to the best one's.",
        json_schema_extra=shown_range(0, 1),
    )
    repetition_penalty: Float32 | None = Field(
        default=None,
        description="Above 1 makes tokens that were there already less likely. Default: 1.",
        json_schema_extra=shown_range(0.1, 2),
    )
    frequency_penalty: Float32 | None = Field(
        default=None,
        description="Subtracted per occurrence of a token in the answer. Default: 0.",
        json_schema_extra=shown_range(-2, 2),
    )
    presence_penalty: Float32 | None = Field(
        default=None,
        description="Subtracted once for a token that the answer has. Default: 0.",
        json_schema_extra=shown_range(-2, 2),
    )
    seed: UInt64 | None = Field(
        default=None, description="The same seed and request give the same answer."
    )
    stop: Text | Annotated[list[Text], Field(max_length=MAX_STOP_WORDS)] | None = Field(
        default=None,
        description="Strings that end the answer and are not part of it.",
        json_schema_extra={**_STOP_WORD, "maxItems": MAX_STOP_WORDS, "items": _STOP_WORD},
    )


class BaselineRequest(Sampling):
    """A prompt, and how to choose the tokens of the answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"prompt": "How do I boil an egg?", "max_tokens": 60, "temperature": 0.0}],
            "anyOf": PROMPT_OR_MESSAGES,
        },
    )

    # Before `prompt`, whose validator looks at it.
    messages: Annotated[list[ChatMessage], Field(min_length=1, fail_fast=True)] | None = Field(
        default=None,
        description="A whole chat, ending with a user's turn; takes the place of `prompt`.",
    )
    prompt: Text | None = Field(
        default=None,
        validate_default=True,
        description="What to answer, sent as one user turn. Required unless `messages` is given.",
    )
    system_prompt: Text | None = Field(
        default=None, description="The system turn before the prompt."
    )
    raw: bool = Field(
        default=False, description="Send `prompt` to the model without the chat template."
    )
    logprobs: Int32 | None = Field(
        default=None,
        description=(
            "Report how likely each token of the answer was, and this many of the most likely "
            "ones at its place, from 0 to 20."
        ),
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )
    monitor: Annotated[list[TraitName], Field(max_length=MAX_TRAITS)] | None = Field(
        default=None,
        description=(
            "Traits to read while the model answers, steered or not: see `readouts` in the answer."
        ),
        json_schema_extra=SHOWN_MONITOR,
    )
    stream: bool = Field(
        default=False,
        description="Answer with server-sent events: `chunk` events, then one `done` or `error`.",
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_or_messages(cls, prompt: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("messages", ()) is None:
            if prompt is None:
                raise PydanticCustomError("missing", "Field required: give a prompt, or messages")
            if not prompt.strip():
                raise ValueError("the prompt is empty: give it some text")
        elif prompt:
            raise ValueError("give a prompt or messages, not both of them")
        return prompt


class GenerateRequest(BaselineRequest):
    """A prompt to be answered under steering."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "How do I boil an egg?",
                    "trait": "sarcasm",
                    "scalar": 2.0,
                    "max_tokens": 60,
                }
            ],
            "anyOf": PROMPT_OR_MESSAGES,
        },
    )

    trait: TraitName = Field(min_length=1, description="The trait to steer; see `/api/v1/traits`.")
    scalar: Float32 = Field(
        description="How strongly: positive for more of the trait, negative for less, 0 for none."
    )
    layers: Layers = None
    positions: Positions = None


class LikelyToken(TypedDict):
    """A token, and how likely it was."""

    token: Annotated[str, Field(description="Its text; a special token's name.")]
    bytes: Annotated[list[int], Field(description="Its bytes: the text's are those of all tokens.")]
    logprob: Annotated[float, Field(description="The natural logarithm of its probability.")]


class TokenLogprob(LikelyToken):
    """A token of the answer, and how likely it was under the steered model.

    Penalties, temperature and the choice among the best tokens come after that.
    """

    top_logprobs: Annotated[list[LikelyToken], Field(description="The likeliest, best first.")]


def _is_none(value: object) -> bool:
    return value is None


def _is_empty(value: Sized) -> bool:
    return not value


class GenerateResponse(BaseModel):
    """An answer; also the data of a `done` event."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "response": "Oh, a truly daring question. Put it in hot water.",
                    "trait": "sarcasm",
                    "scalar": 2.0,
                    "tokens_generated": 14,
                    "error": None,
                    "finish_reason": "stop",
                    "prompt_tokens": 21,
                    "reused_tokens": 0,
                    "readouts": {"sarcasm": {"15": 3.1}},
                }
            ]
        }
    )

    success: bool = True
    response: str
    trait: str | None
    scalar: float
    tokens_generated: int = Field(description="How many tokens the answer has.")
    error: str | None = None
    finish_reason: str = Field(description="`stop` at a natural end, `length` at max_tokens.")
    prompt_tokens: int
    reused_tokens: int = Field(
        default=0,
        description="How many of the prompt's tokens were not computed anew, but kept from before.",
    )
    logprobs: list[TokenLogprob] | None = Field(
        default=None, exclude_if=_is_none, description="Only if the request asks for `logprobs`."
    )
    readouts: dict[str, dict[str, float]] | None = Field(
        default=None,
        exclude_if=_is_none,
        description=(
            "Only if the request asks to `monitor` traits: for each trait, and each decoder block "
            "that its vector selects, the mean over the answer's tokens of their hidden states' "
            "projection on the vector's direction. Empty for an answer of one token."
        ),
    )
    warnings: list[str] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description=(
            "Only if there are any: what to know about the steering, such as a scalar outside the "
            "range that the trait's vector recommends."
        ),
    )


class Trait(BaseModel):
    """A trait that requests can name."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    trait_name: str
    model_name: str
    layers: list[int] = Field(description="The decoder blocks that the vector is for, from 0.")
    layer_count: int
    selected_layers: list[int] = Field(
        default_factory=list, description="Those that are steered unless a request names others."
    )
    recommended_range: list[float] | None = Field(
        default=None, description="The least and the greatest scalar known to work, if known."
    )
    norms: dict[str, float] = Field(
        default_factory=dict, description="By block, the vector's length."
    )
    relative_norms: dict[str, float] = Field(
        default_factory=dict,
        description="By block, the same as a share of the residual stream's length there.",
    )
    source: str = Field(default="", description="The file, within the folder of vectors.")
    sha256: str = Field(default="", description="The file's SHA-256: the vector's identity.")
    state: Literal["loaded", "kept"] = Field(
        default="loaded",
        description="`kept`: the file cannot be used any more, its last good content is.",
    )
    warnings: list[str] = Field(default_factory=list)
    metadata: dict[str, Any]


Problems = Annotated[
    list[dict[str, Any]],
    Field(description="Vector files that cannot be used as they are: which, why, what follows."),
]


class TraitsResponse(BaseModel):
    """All traits by name."""

    traits: dict[str, Trait]
    problems: Problems = []


class StatusResponse(BaseModel):
    """What is served, and whether it can be used now."""

    model_config = ConfigDict(protected_namespaces=())

    status: Literal["ready", "initializing"]
    model: str
    device: str
    available_traits: list[str]
    model_info: dict[str, Any]
    dtype: str | None = None
    compute_dtype: str | None = None
    traits: dict[str, Trait] = Field(default_factory=dict)
    problems: Problems = []
    engine: dict[str, Any] = Field(default_factory=dict)
    error: str | None = Field(default=None, description="Why the status is not `ready`.")
    warnings: list[str] = Field(
        default_factory=list,
        exclude_if=_is_empty,
        description="Only if there are any: what whoever runs the gateway should see to.",
    )
