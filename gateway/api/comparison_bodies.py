"""The bodies of calls that are answered by several answers."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from gateway.api.field_types import (
    PROMPT_OR_MESSAGES,
    Boolean,
    Float32,
    Layers,
    OptionalScalarUnit,
    Positions,
    Text,
    is_none,
)
from gateway.api.request_bodies import BaselineRequest
from gateway.api.response_bodies import (
    CalibratedReadouts,
    ConditionMet,
    LimitsReached,
    PromptLogprobs,
    TokenLogprob,
    TokenReadouts,
    TurnReadouts,
    WhatIsEnforced,
)
from gateway.api.steering_examples import EXAMPLES_OF_EACH_KIND
from gateway.api.steering_fields import (
    SteeredTrait,
    Steering,
    SteeringFields,
    SweptOperation,
    TraitScalar,
)

MAX_ANSWERS = 32
"""The most answers to a call, a baseline aside: as many as a batch has rows by default."""

_MAX_LABEL = 100

T = TypeVar("T")


class LabelledSteering(Steering):
    """What to steer one of the answers by, and how to call it."""

    label: Annotated[Text, Field(min_length=1, max_length=_MAX_LABEL)] | None = Field(
        default=None,
        description="How to call the answer. Default: its traits and scalars, and its operations.",
    )

    @property
    def title(self) -> str:
        """The label, or one made of what it says."""
        return self.label or super().title


class CompareRequest(BaselineRequest):
    """A prompt to be answered under several steerings at once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "How do I boil an egg?",
                    "steerings": [
                        {"traits": [{"name": "sarcasm", "scalar": 2.0}]},
                        {
                            "traits": [
                                {"name": "sarcasm", "scalar": -2.0},
                                {"name": "flattery", "scalar": 1.0},
                            ],
                            "label": "kind",
                        },
                        {"operations": [{"trait": "flattery", "kind": "ablate"}]},
                    ],
                    "max_tokens": 60,
                    "temperature": 0.0,
                },
                {
                    "prompt": "How do I boil an egg?",
                    "steerings": [*EXAMPLES_OF_EACH_KIND],
                    "baseline": False,
                    "max_tokens": 60,
                },
            ],
            "anyOf": PROMPT_OR_MESSAGES,
        }
    )

    steerings: list[LabelledSteering] = Field(
        fail_fast=True,
        min_length=1,
        max_length=MAX_ANSWERS,
        description="What to steer each answer by.",
    )
    baseline: Boolean = Field(default=True, description="Whether to answer without steering, too.")


_ONE_SERIES: JsonValue = [
    {
        "required": ["trait", "scalars"],
        "properties": {
            "trait": {"type": "string"},
            "scalars": {"type": "array"},
            "operation": {"type": "null"},
            "values": {"type": "null"},
        },
    },
    {
        "required": ["operation", "values"],
        "properties": {
            "operation": {"type": "object"},
            "values": {"type": "array"},
            **{
                name: {"type": "null"}
                for name in ("trait", "scalars", "layers", "positions", "unit")
            },
        },
    },
]
"""The documentation of what `SweepRequest` says about them."""

_Series = Annotated[list[Float32], Field(fail_fast=True, min_length=1, max_length=MAX_ANSWERS)]


class SweepRequest(BaselineRequest):
    """A prompt to be answered at several scalars of a trait, or values of an operation, at once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "How do I boil an egg?",
                    "trait": "sarcasm",
                    "scalars": [-2.0, -1.0, 0.0, 1.0, 2.0],
                    "scores": True,
                    "max_tokens": 60,
                    "temperature": 0.0,
                },
                {
                    "prompt": "How do I boil an egg?",
                    "steering": {"traits": [{"name": "sarcasm", "scalar": 2.0}]},
                    "operation": {"trait": "sarcasm", "kind": "cap"},
                    "values": [0.0, 10.0, 20.0],
                    "max_tokens": 60,
                    "temperature": 0.0,
                },
            ],
            "allOf": [{"anyOf": PROMPT_OR_MESSAGES}, {"anyOf": _ONE_SERIES}],
        }
    )

    # Before `trait` and the others, whose validators look at it.
    operation: SweptOperation | None = Field(
        default=None, description="The operation whose `values` to try, in place of a trait."
    )
    trait: SteeredTrait | None = Field(
        default=None,
        validate_default=True,
        description="The trait to steer; see `/api/v1/traits`. Required unless `operation` is.",
    )
    scalars: _Series | None = Field(
        default=None,
        validate_default=True,
        description="How strongly, in the order of the answers; 0 is the baseline.",
    )
    values: _Series | None = Field(
        default=None,
        validate_default=True,
        description="The values of the operation, in the order of the answers.",
    )
    layers: Layers = None
    positions: Positions = None
    unit: OptionalScalarUnit = None
    steering: SteeringFields | None = Field(
        default=None, description="What to steer all answers by, besides."
    )
    scores: Boolean = Field(
        default=False, description="Whether to read how far each answer points along the trait."
    )

    @property
    def swept_trait(self) -> str:
        """The trait, whichever of the two it is of."""
        return self.operation.trait if self.operation is not None else self.trait or ""

    @property
    def steerings(self) -> list[SteeringFields]:
        """What each answer is steered by."""
        given = self.steering or SteeringFields()
        if self.operation is not None:
            return [given.plus(operations=[self.operation.at(each)]) for each in self.values or ()]
        return [given.plus([self._scaled(scalar)]) for scalar in self.scalars or ()]

    def _scaled(self, scalar: float) -> TraitScalar:
        return TraitScalar.model_construct(
            name=self.swept_trait,
            scalar=scalar,
            layers=self.layers,
            positions=self.positions,
            unit=self.unit,
        )

    @field_validator("trait", "scalars", "layers", "positions", "unit")
    @classmethod
    def _unless_operation(cls, value: T, info: ValidationInfo) -> T:
        operation = info.data.get("operation", ())
        if value is not None and operation:
            raise ValueError(
                f"a sweep is over a trait's scalars or an operation's values: leave "
                f"{info.field_name} out, or operation and values"
            )
        if value is None and operation is None and info.field_name in ("trait", "scalars"):
            raise PydanticCustomError(
                "missing", "Field required: give trait and scalars, or operation and values"
            )
        return value

    @field_validator("values")
    @classmethod
    def _of_operation(cls, values: T, info: ValidationInfo) -> T:
        operation = info.data.get("operation", ())
        if values is None and operation:
            raise PydanticCustomError("missing", "Field required")
        if values is not None and operation is None:
            raise ValueError("they are an operation's: give operation too, or leave values out")
        return values


class OneAnswer(BaseModel):
    """One answer of several; also the data of an `answer` event."""

    index: int = Field(description="Which answer it is.")
    success: bool
    response: str = Field(description="The text; of a failed answer, as far as it came.")
    tokens_generated: int
    finish_reason: str = Field(description="As of any answer, or `error` for a failed one.")
    prompt_tokens: int
    reused_tokens: int
    logprobs: list[TokenLogprob] | None = Field(
        default=None, exclude_if=is_none, description="Only if the request asks for `logprobs`."
    )
    prompt_logprobs: PromptLogprobs = None
    readouts: dict[str, dict[str, float]] | None = Field(
        default=None,
        exclude_if=is_none,
        description="Only if the request asks to `monitor` traits, or for `scores`.",
    )
    calibrated_readouts: CalibratedReadouts = None
    turn_readouts: TurnReadouts = None
    token_readouts: TokenReadouts = None
    condition: ConditionMet | None = Field(
        default=None, exclude_if=is_none, description="Only if the steering has `when`."
    )
    limits_reached: LimitsReached = []
    enforced: WhatIsEnforced = None
    warnings: list[str] = Field(description="What to know about the steering.")
    error: str | None = Field(description="Why it failed.")
    code: str | None = Field(
        default=None, exclude_if=is_none, description="The kind of failure, of a failed answer."
    )


class ComparedAnswer(OneAnswer):
    """An answer under one of the steerings; 0 is the baseline's index."""

    label: str
    steering: SteeringFields | None = Field(
        description="As in the request; `null` for the baseline."
    )


class SweptAnswer(OneAnswer):
    """An answer at one of the scalars or values; its index is the place of that."""

    scalar: float | None = Field(description="`null` if the sweep is over an operation's values.")
    value: float | None = Field(
        default=None, exclude_if=is_none, description="The operation's value, if it is over those."
    )
    score: float | None = Field(
        description=(
            "With `scores`, the mean of the trait's `readouts` over the blocks that its vector "
            "selects, or `monitor_layers`; `null` if nothing could be read, as of an answer of one "
            "token. What steering adds there is part of it."
        )
    )
    net_score: float | None = Field(
        description=(
            "With `scores`, the same before each block's output was steered: what the model makes "
            "of the steering, without what the steering itself adds there."
        )
    )


class Origin(BaseModel):
    """What several answers were made with, for whoever wants to make them again."""

    seed: int = Field(description="The seed of all answers: the request's, or one drawn for it.")
    model: str
    weights_sha256: str = Field(description="A hash of a sample of every tensor of the model.")
    vectors: dict[str, str] = Field(
        description=(
            "For each trait that is steered or monitored the SHA-256 of its vector's file, or of "
            "the numbers of one that came with the request."
        )
    )


class SeveralAnswers(Origin):
    """What is common to all answers of a call."""

    success: bool = Field(description="Whether all answers succeeded.")


class CompareResponse(SeveralAnswers):
    """The answers to a comparison."""

    baseline: ComparedAnswer | None
    answers: list[ComparedAnswer] = Field(description="In the order of the steerings.")


class SweepResponse(SeveralAnswers):
    """The answers to a sweep."""

    trait: str
    layers: list[int] | None
    positions: Literal["all", "prompt", "response"] | None
    operation: SweptOperation | None = Field(
        default=None, exclude_if=is_none, description="As in the request, if it has one."
    )
    steering: SteeringFields | None = Field(
        default=None, exclude_if=is_none, description="As in the request, if it has one."
    )
    answers: list[SweptAnswer] = Field(description="In the order of the scalars or values.")
