"""Clients of the gateway, which need only httpx.

`persona_client.triton` has one that speaks to Triton directly; it needs tritonclient.
"""

from persona_client.comparisons import (
    AnswerChunk,
    ComparedAnswer,
    Comparison,
    Sweep,
    SweptAnswer,
)
from persona_client.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    OverloadedError,
    PersonaError,
    ServerError,
    UnavailableError,
)
from persona_client.readouts import TokenProjection, TokenReadout, TurnReadout
from persona_client.rest import PersonaClient
from persona_client.rest_async import AsyncPersonaClient
from persona_client.results import (
    Chunk,
    Completion,
    ConditionMet,
    Enforced,
    LikelyToken,
    LimitReached,
    PromptToken,
    Status,
    TokenLogprob,
    Trait,
)
from persona_client.steering import Addition, Condition, Limit, Operation, Steering, Window
from persona_client.vectors import Vector

__all__ = [
    "Addition",
    "AnswerChunk",
    "AsyncPersonaClient",
    "Chunk",
    "ComparedAnswer",
    "Comparison",
    "Completion",
    "Condition",
    "ConditionMet",
    "ConnectionFailedError",
    "Enforced",
    "InvalidRequestError",
    "LikelyToken",
    "Limit",
    "LimitReached",
    "NotAllowedError",
    "NotFoundError",
    "Operation",
    "OverloadedError",
    "PersonaClient",
    "PersonaError",
    "PromptToken",
    "ServerError",
    "Status",
    "Steering",
    "Sweep",
    "SweptAnswer",
    "TokenLogprob",
    "TokenProjection",
    "TokenReadout",
    "Trait",
    "TurnReadout",
    "UnavailableError",
    "Vector",
    "Window",
]
