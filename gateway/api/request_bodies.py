"""The bodies of requests that generate."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from gateway.api.field_types import (
    PROMPT_OR_MESSAGES,
    SHOWN_FORMAT,
    SHOWN_LOGIT_BIAS,
    STOP_WORD,
    TOP_LOGPROBS_RANGE,
    Boolean,
    Float32,
    Int32,
    Layers,
    OptionalScalarUnit,
    Positions,
    Seed,
    Text,
    shown_range,
)
from gateway.api.monitor_fields import MonitorFields
from gateway.api.steering_examples import EXAMPLES_OF_EACH_KIND
from gateway.api.steering_fields import (
    NOTHING,
    STEERS,
    SteeredTrait,
    SteeringFields,
    TraitScalar,
)
from gateway.api.vector_fields import EXAMPLE_VECTORS, Vectors
from triton_models.contract.request import MAX_STOP_WORDS

T = TypeVar("T")

_TRAIT_OR_STEERING: JsonValue = [
    {
        "required": ["trait", "scalar"],
        "properties": {"trait": {"type": "string"}, "scalar": {"type": "number"}},
    },
    {
        "required": ["steering"],
        "properties": {
            "steering": {"type": "object", "anyOf": STEERS},
            **{
                name: {"type": "null"}
                for name in ("trait", "scalar", "layers", "positions", "unit")
            },
        },
    },
]
"""The documentation of what `GenerateRequest` says about them."""


class ChatMessage(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: Text


class Sampling(BaseModel):
    """How to choose the tokens of an answer."""

    max_tokens: Int32 | None = Field(
        default=None,
        description=(
            "The most tokens to generate; 0 only with `prompt_logprobs`. Default: MAX_TOKENS (200)."
        ),
        json_schema_extra=shown_range(0),
    )
    min_tokens: Int32 | None = Field(
        default=None,
        description="The least tokens to generate before the model may end the answer.",
        json_schema_extra=shown_range(0),
    )
    ignore_eos: Boolean = Field(
        default=False,
        description="Go on where the model would end the answer, until `stop` or `max_tokens`.",
    )
    temperature: Float32 | None = Field(
        default=None,
        description="0 always takes the most likely token. Default: TEMPERATURE (0.8).",
        json_schema_extra=shown_range(0, 2),
    )
    top_p: Float32 | None = Field(
        default=None,
        description="Probability that the candidates must reach. Default: TOP_P (0.9).",
        json_schema_extra=shown_range(0, 1),
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
    logit_bias: dict[Text, Float32] | None = Field(
        default=None,
        description=(
            'Added to the logits of tokens, by their ids: `{"1234": -100}`. A bias of -100 bans a '
            "token, one of 100 forces it."
        ),
        json_schema_extra=SHOWN_LOGIT_BIAS,
    )
    seed: Seed | None = Field(
        default=None,
        description=(
            "The same seed and request give the same answer; a negative one is what it is plus "
            "2**64. Default: a new one each time."
        ),
    )
    stop: Text | Annotated[list[Text], Field(max_length=MAX_STOP_WORDS)] | None = Field(
        default=None,
        description="Strings that end the answer and are not part of it.",
        json_schema_extra={**STOP_WORD, "maxItems": MAX_STOP_WORDS, "items": STOP_WORD},
    )


class BaselineRequest(MonitorFields, Sampling):
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
        description="A whole chat; takes the place of `prompt`.",
    )
    prompt: Text | None = Field(
        default=None,
        validate_default=True,
        description="What to answer, sent as one user turn. Required unless `messages` is given.",
    )
    system_prompt: Text | None = Field(
        default=None, description="The system turn before the prompt."
    )
    raw: Boolean = Field(
        default=False, description="Send `prompt` to the model without the chat template."
    )
    parse_special: Boolean | None = Field(
        default=None,
        description=(
            "With `raw`, whether names of special tokens in the prompt, such as `<|im_end|>`, "
            "stand for those tokens. Default: true. In a chat they are always text."
        ),
    )
    add_generation_prompt: Boolean | None = Field(
        default=None,
        description=(
            "Whether the answer begins a turn of the assistant's. Default: true, unless "
            "`continue_final_message` is."
        ),
    )
    continue_final_message: Boolean | None = Field(
        default=None, description="Whether the answer goes on after the text of the last turn."
    )
    logprobs: Int32 | None = Field(
        default=None,
        description=(
            "Report how likely each token of the answer was, and this many of the most likely "
            "ones at its place, from 0 to 20."
        ),
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )
    prompt_logprobs: Int32 | None = Field(
        default=None,
        description=(
            "Report how likely each token of the prompt was, and this many of the most likely ones "
            "at its place, from 0 to 20. With `max_tokens` 0 the prompt is only scored."
        ),
        json_schema_extra=TOP_LOGPROBS_RANGE,
    )
    vectors: Vectors | None = None
    format: dict[str, Any] | None = Field(
        default=None,
        description=(
            "What the answer must match: JSON, a JSON schema, a regular expression, one of several "
            "texts, or a grammar in Lark's syntax. Default: free text."
        ),
        json_schema_extra=SHOWN_FORMAT,
    )
    stream: Boolean = Field(
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
                },
                {
                    "prompt": "How do I boil an egg?",
                    "trait": "sarcasm",
                    "scalar": 2.0,
                    "max_tokens": 60,
                    "format": {
                        "type": "json_schema",
                        "schema": {
                            "type": "object",
                            "properties": {
                                "answer": {"type": "string", "maxLength": 80},
                                "minutes": {"type": "integer", "minimum": 1, "maximum": 20},
                            },
                            "required": ["answer", "minutes"],
                            "additionalProperties": False,
                        },
                    },
                },
                {
                    "prompt": "How do I boil an egg?",
                    "trait": "sarcasm",
                    "scalar": 2.0,
                    "max_tokens": 60,
                    "monitor": ["sarcasm", "maliciousness"],
                    "monitor_tokens": True,
                },
                {
                    "prompt": "How do I boil an egg?",
                    "vectors": EXAMPLE_VECTORS,
                    "trait": "mine",
                    "scalar": 0.5,
                    "max_tokens": 60,
                },
                *(
                    {"prompt": "How do I boil an egg?", "steering": steering, "max_tokens": 60}
                    for steering in EXAMPLES_OF_EACH_KIND
                ),
            ],
            "allOf": [{"anyOf": PROMPT_OR_MESSAGES}, {"anyOf": _TRAIT_OR_STEERING}],
        }
    )

    # Before `trait` and what goes with it, whose validators look at it.
    steering: SteeringFields | None = Field(
        default=None,
        description=(
            "What to steer by in full: several traits, bounds, a condition, a window. It is added "
            "to what `trait` and `scalar` say."
        ),
    )
    trait: SteeredTrait | None = Field(
        default=None,
        validate_default=True,
        description="The trait to steer; see `/api/v1/traits`. Required unless `steering` is.",
    )
    scalar: Float32 | None = Field(
        default=None,
        validate_default=True,
        description="How strongly: positive for more of the trait, negative for less, 0 for none.",
    )
    layers: Layers = None
    positions: Positions = None
    unit: OptionalScalarUnit = None

    @property
    def whole_steering(self) -> SteeringFields:
        """What both forms say."""
        given = self.steering or SteeringFields()
        if self.trait is None or self.scalar is None:
            return given
        short = TraitScalar.model_construct(
            name=self.trait,
            scalar=self.scalar,
            layers=self.layers,
            positions=self.positions,
            unit=self.unit,
        )
        return given.plus([short])

    @field_validator("trait")
    @classmethod
    def _trait_or_steering(cls, trait: str | None, info: ValidationInfo) -> str | None:
        if trait is None and "steering" in info.data:
            steering = info.data["steering"]
            if steering is None:
                raise PydanticCustomError("missing", "Field required: give a trait, or steering")
            if not steering.steers:
                raise ValueError(f"{NOTHING} in steering, or a trait")
        return trait

    @field_validator("scalar")
    @classmethod
    def _with_trait(cls, scalar: float | None, info: ValidationInfo) -> float | None:
        trait = info.data.get("trait", ())
        if scalar is None and trait:
            raise PydanticCustomError("missing", "Field required")
        if scalar is not None and trait is None:
            raise ValueError("it is a trait's: give trait too, or leave scalar out")
        return scalar

    @field_validator("layers", "positions", "unit")
    @classmethod
    def _of_trait(cls, value: T, info: ValidationInfo) -> T:
        if value is not None and info.data.get("trait", ()) is None:
            raise ValueError(
                f"it is of what trait and scalar say: give {info.field_name} within steering"
            )
        return value
