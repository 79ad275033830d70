"""The bodies of answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

from gateway.api.field_types import is_empty, is_none
from gateway.api.steering_fields import Limit, Operation, SteeringFields
from gateway.api.vector_fields import VectorOperation


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


class LikelyPromptToken(TypedDict):
    """A token that could have stood at a place of the prompt, and how likely it was."""

    id: int
    token: Annotated[str, Field(description="Its text; a special token's name.")]
    bytes: list[int]
    logprob: Annotated[
        float | None,
        Field(description="The natural logarithm of its probability; `null` for the first token."),
    ]


class PromptTokenLogprob(LikelyPromptToken):
    """A token of the prompt, and how likely it was under the steered model."""

    rank: Annotated[int | None, Field(description="1 if it was the likeliest.")]
    top_logprobs: Annotated[
        list[LikelyPromptToken], Field(description="The likeliest, best first.")
    ]


PromptLogprobs = Annotated[
    list[PromptTokenLogprob] | None,
    Field(exclude_if=is_none, description="Only if the request asks for `prompt_logprobs`."),
]


class CalibratedMean(TypedDict):
    """What an answer's mean projection says beside the calibration of the trait's vector."""

    percentile: Annotated[
        float, Field(description="Of the mean among those of neutral answers, 0 to 100.")
    ]
    pole: Annotated[
        float | None,
        Field(
            description=(
                "Where the mean is between those under the trait's negative (0) and positive (1) "
                "system prompts; below or above beyond them, `null` if both are the same."
            )
        ),
    ]


CalibratedReadouts = Annotated[
    dict[str, dict[str, CalibratedMean]] | None,
    Field(
        exclude_if=is_none,
        description=(
            "What `readouts` say, of traits whose vector is calibrated for the model: how unusual "
            "the answer is, in numbers that can be compared between traits and blocks."
        ),
    ),
]


class TurnReadout(TypedDict):
    """What was read in a turn of the prompt."""

    role: Annotated[str, Field(description="Whose turn it is: `system`, `user`, `assistant`, ...")]
    readouts: Annotated[
        dict[str, dict[str, float]],
        Field(
            description=(
                "As `readouts` of the answer, the mean over the tokens of the message's content; "
                "empty by trait if it has none of its own."
            )
        ),
    ]


class TokenProjection(TypedDict):
    """The projection of a token's hidden state on a direction."""

    before: Annotated[float, Field(description="Before the block's output was steered.")]
    after: Annotated[float, Field(description="What the model went on with.")]
    percentile: NotRequired[
        Annotated[
            float,
            Field(
                description=(
                    "Of `after` among the tokens of neutral answers, 0 to 100, if the vector is "
                    "calibrated for the model."
                )
            ),
        ]
    ]


class TokenReadout(TypedDict):
    """What was read at a token of the answer."""

    token: Annotated[str, Field(description="Its text; a special token's name.")]
    readouts: Annotated[
        dict[str, dict[str, TokenProjection]],
        Field(
            description=(
                "By trait and block; empty by trait for an answer's last token, if no other was "
                "computed after it."
            )
        ),
    ]


TurnReadouts = Annotated[
    list[TurnReadout] | None,
    Field(
        exclude_if=is_none,
        description=(
            "Only if the request asks for `monitor_tokens` and its prompt is a chat: what was read "
            "in each turn. A stream has it in its first `chunk` event alone."
        ),
    ),
]

TokenReadouts = Annotated[
    list[TokenReadout] | None,
    Field(
        exclude_if=is_none,
        description=(
            "Only if the request asks for `monitor_tokens`: what was read at each token. A stream "
            "has it in its `chunk` events, for the tokens of each, and not again at its end."
        ),
    ),
]

IN_PIECES = {"turn_readouts", "token_readouts"}
"""What a stream says piece by piece, and not again at its end."""


class ConditionMet(BaseModel):
    """How often the condition of a steering held."""

    tokens: int = Field(description="How many of the answer's tokens were looked at.")
    met: int = Field(description="How many of these met it, and were steered.")


class LimitReached(Limit):
    """A limit that the answer has reached."""

    enforced: bool = Field(description="Whether it is the policy's, and not the request's.")
    bound: float = Field(description="The bound as a projection, whatever its unit.")
    projection: float = Field(description="The projection that was beyond it.")
    token: int = Field(description="The token of the answer, from 0, that it was reached with.")


class Enforced(BaseModel):
    """What the policy has added to the request."""

    operations: list[Operation]
    limits: list[Limit]


LimitsReached = Annotated[
    list[LimitReached],
    Field(
        exclude_if=is_empty,
        description="Only if there are any: limits that the answer has reached, in that order.",
    ),
]
WhatIsEnforced = Annotated[
    Enforced | None,
    Field(
        exclude_if=is_none,
        description=(
            "Only if the policy adds anything: what applies after the request's own steering, "
            "whatever that says."
        ),
    ),
]


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
                    "calibrated_readouts": {"sarcasm": {"15": {"percentile": 99, "pole": 0.9}}},
                }
            ]
        }
    )

    success: bool = True
    response: str
    trait: str | None
    scalar: float
    steering: SteeringFields | None = Field(
        default=None, exclude_if=is_none, description="As in the request, if it has one."
    )
    tokens_generated: int = Field(description="How many tokens the answer has.")
    error: str | None = None
    finish_reason: str = Field(
        description="`stop` at a natural end, `length` at max_tokens, `trait_limit` at a limit."
    )
    prompt_tokens: int
    reused_tokens: int = Field(
        default=0,
        description="How many of the prompt's tokens were not computed anew, but kept from before.",
    )
    logprobs: list[TokenLogprob] | None = Field(
        default=None, exclude_if=is_none, description="Only if the request asks for `logprobs`."
    )
    prompt_logprobs: PromptLogprobs = None
    readouts: dict[str, dict[str, float]] | None = Field(
        default=None,
        exclude_if=is_none,
        description=(
            "Only if the request asks to `monitor` traits: for each trait, and each decoder block "
            "that its vector selects, the mean over the answer's tokens of their hidden states' "
            "projection on the vector's direction. Empty for an answer of one token."
        ),
    )
    calibrated_readouts: CalibratedReadouts = None
    turn_readouts: TurnReadouts = None
    token_readouts: TokenReadouts = None
    condition: ConditionMet | None = Field(
        default=None, exclude_if=is_none, description="Only if the steering has `when`."
    )
    limits_reached: LimitsReached = []
    enforced: WhatIsEnforced = None
    warnings: list[str] = Field(
        default_factory=list,
        exclude_if=is_empty,
        description=(
            "Only if there are any: what to know about the steering, such as a scalar outside the "
            "range that the trait's vector recommends."
        ),
    )


class TraitCalibration(BaseModel):
    """What is known of the calibration of a trait's vector."""

    usable: bool = Field(description="Whether readouts and percentiles can go by it.")
    reason: str | None = Field(
        default=None, exclude_if=is_none, description="Why not: it may be another model's."
    )
    num_answers: int | None = Field(
        default=None, exclude_if=is_none, description="How many answers it was measured with."
    )
    num_tokens: int | None = Field(
        default=None, exclude_if=is_none, description="How many tokens those have."
    )
    seed: int | None = Field(
        default=None, exclude_if=is_none, description="The seed of those answers."
    )
    answer_means: dict[str, dict[Literal["neutral", "positive", "negative"], float]] | None = Field(
        default=None,
        exclude_if=is_none,
        description=(
            "By block, the mean projection of answers without a system prompt, and under the "
            "trait's positive and negative ones."
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
    operation: VectorOperation | None = Field(
        default=None,
        description="What the vector is meant for: scalars are its strength. `null`: to be added.",
    )
    unit_scale: dict[str, float] | None = Field(
        default=None,
        description=(
            "By pole, `positive` and `negative`, the scalar that does as much as asking in the "
            "system prompt does, if both are known for the selected layers."
        ),
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
    calibration: TraitCalibration | None = Field(
        default=None, description="`null` if the vector is not calibrated."
    )
    metadata: dict[str, Any] = Field(description="As in the file, without the calibration.")


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
        exclude_if=is_empty,
        description="Only if there are any: what whoever runs the gateway should see to.",
    )
