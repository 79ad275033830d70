"""The bodies of calls that are answered by several answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.field_types import (
    PROMPT_OR_MESSAGES,
    Boolean,
    Float32,
    Layers,
    Positions,
    Text,
    TraitName,
)
from gateway.api.request_bodies import BaselineRequest, Steering
from gateway.api.response_bodies import TokenLogprob, is_none

MAX_ANSWERS = 32
"""The most answers to a call, a baseline aside: as many as a batch has rows by default."""

_MAX_LABEL = 100


class LabelledSteering(Steering):
    """What to steer one of the answers by, and how to call it."""

    label: Annotated[Text, Field(min_length=1, max_length=_MAX_LABEL)] | None = Field(
        default=None, description="How to call the answer. Default: its traits and scalars."
    )

    @property
    def title(self) -> str:
        """The label, or one made of the traits and scalars."""
        return self.label or ", ".join(f"{each.name} {each.scalar:+g}" for each in self.traits)


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
                    ],
                    "max_tokens": 60,
                    "temperature": 0.0,
                }
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


class SweepRequest(BaselineRequest):
    """A prompt to be answered at several strengths of a trait at once."""

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
                }
            ],
            "anyOf": PROMPT_OR_MESSAGES,
        }
    )

    trait: TraitName = Field(min_length=1, description="The trait to steer; see `/api/v1/traits`.")
    scalars: list[Float32] = Field(
        fail_fast=True,
        min_length=1,
        max_length=MAX_ANSWERS,
        description="How strongly, in the order of the answers; 0 is the baseline.",
    )
    layers: Layers = None
    positions: Positions = None
    scores: Boolean = Field(
        default=False, description="Whether to read how far each answer points along the trait."
    )


class OneAnswer(BaseModel):
    """One answer of several; also the data of an `answer` event."""

    index: int = Field(description="Which answer it is.")
    success: bool
    response: str = Field(description="The text; of a failed answer, as far as it came.")
    tokens_generated: int
    finish_reason: str = Field(description="`stop`, `length`, or `error` for a failed answer.")
    prompt_tokens: int
    reused_tokens: int
    logprobs: list[TokenLogprob] | None = Field(
        default=None, exclude_if=is_none, description="Only if the request asks for `logprobs`."
    )
    readouts: dict[str, dict[str, float]] | None = Field(
        default=None,
        exclude_if=is_none,
        description="Only if the request asks to `monitor` traits, or for `scores`.",
    )
    warnings: list[str] = Field(description="What to know about the steering.")
    error: str | None = Field(description="Why it failed.")
    code: str | None = Field(
        default=None, exclude_if=is_none, description="The kind of failure, of a failed answer."
    )


class ComparedAnswer(OneAnswer):
    """An answer under one of the steerings; 0 is the baseline's index."""

    label: str
    steering: Steering | None = Field(description="As in the request; `null` for the baseline.")


class SweptAnswer(OneAnswer):
    """An answer at one of the scalars; its index is the scalar's place."""

    scalar: float
    score: float | None = Field(
        description=(
            "With `scores`, the mean of the trait's `readouts` over the blocks that its vector "
            "selects; `null` if nothing could be read, as of an answer of one token."
        )
    )


class SeveralAnswers(BaseModel):
    """What is common to all answers of a call."""

    success: bool = Field(description="Whether all answers succeeded.")
    seed: int = Field(description="The seed of all answers: the request's, or one drawn for it.")


class CompareResponse(SeveralAnswers):
    """The answers to a comparison."""

    baseline: ComparedAnswer | None
    answers: list[ComparedAnswer] = Field(description="In the order of the steerings.")


class SweepResponse(SeveralAnswers):
    """The answers to a sweep."""

    trait: str
    layers: list[int] | None
    positions: Literal["all", "prompt", "response"] | None
    answers: list[SweptAnswer] = Field(description="In the order of the scalars.")
