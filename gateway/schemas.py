"""The bodies of requests and responses."""

from __future__ import annotations

import math
import struct
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo
from typing_extensions import TypedDict

INT32_MAX = 2**31 - 1


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
Float32 = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_as_float32)]
Int32 = Annotated[int, Field(ge=-INT32_MAX, le=INT32_MAX)]
UInt64 = Annotated[int, Field(ge=0, le=2**64 - 1)]


class ChatMessage(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


class BaselineRequest(BaseModel):
    """A prompt, and how to choose the tokens of the answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"prompt": "How do I boil an egg?", "max_tokens": 60, "temperature": 0.0}],
            "anyOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
        },
    )

    # Before `prompt`, whose validator looks at it.
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = Field(
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
    max_tokens: Int32 | None = Field(
        default=None, description="The most tokens to generate. Default: MAX_TOKENS (200)."
    )
    min_tokens: Int32 | None = Field(
        default=None,
        description="The least tokens to generate before the model may end the answer.",
    )
    temperature: Float32 | None = Field(
        default=None,
        description="0 always takes the most likely token. Default: TEMPERATURE (0.8).",
    )
    top_p: Float32 | None = Field(
        default=None,
        description="Probability that the candidates must reach. Default: TOP_P (0.9).",
    )
    top_k: Int32 | None = Field(
        default=None, description="Number of candidates; 0 is all. Default: 50."
    )
    min_p: Float32 | None = Field(
        default=None, description="Least probability of a candidate, relative to the best one's."
    )
    repetition_penalty: Float32 | None = Field(
        default=None,
        description="Above 1 makes tokens that were there already less likely. Default: 1.",
    )
    frequency_penalty: Float32 | None = Field(
        default=None, description="Subtracted per occurrence of a token in the answer. Default: 0."
    )
    presence_penalty: Float32 | None = Field(
        default=None, description="Subtracted once for a token that the answer has. Default: 0."
    )
    seed: UInt64 | None = Field(
        default=None, description="The same seed and request give the same answer."
    )
    stop: Text | list[Text] | None = Field(
        default=None, description="Strings that end the answer and are not part of it."
    )
    logprobs: Int32 | None = Field(
        default=None,
        description=(
            "Report how likely each token of the answer was, and this many of the most likely "
            "ones at its place, from 0 to 20."
        ),
    )
    monitor: list[Text] | None = Field(
        default=None,
        description=(
            "Traits to read while the model answers, steered or not: see `readouts` in the answer."
        ),
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
            "anyOf": [{"required": ["prompt"]}, {"required": ["messages"]}],
        },
    )

    trait: Text = Field(min_length=1, description="The trait to steer; see `/api/v1/traits`.")
    scalar: Float32 = Field(
        description="How strongly: positive for more of the trait, negative for less, 0 for none."
    )
    layers: Annotated[list[Int32], Field(min_length=1)] | None = Field(
        default=None,
        description="Decoder blocks to steer, from 0. Default: the vector's own choice.",
    )
    positions: Literal["all", "prompt", "response"] | None = Field(
        default=None, description="Which tokens to steer. Default: all."
    )


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


class ErrorResponse(BaseModel):
    """The body of every status from 400 on."""

    success: Literal[False] = False
    error: str = Field(description="What was wrong and what would be right.")
    code: str
    request_id: str
    detail: Any = Field(description="The same sentence, or a list of the fields that are wrong.")


class Trait(BaseModel):
    """A trait that requests can name."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    trait_name: str
    model_name: str
    layers: list[int]
    layer_count: int
    metadata: dict[str, Any]


class TraitsResponse(BaseModel):
    """All traits by name."""

    traits: dict[str, Trait]


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
    problems: list[dict[str, Any]] = Field(
        default_factory=list, description="Vector files that could not be used, and why."
    )
    engine: dict[str, Any] = Field(default_factory=dict)
    error: str | None = Field(default=None, description="Why the status is not `ready`.")
