"""Clients of the gateway, which need only httpx.

`client.triton` has one that speaks to Triton directly; it needs tritonclient and numpy.
"""

from client.comparisons import (
    AnswerChunk,
    ComparedAnswer,
    Comparison,
    Steering,
    Sweep,
    SweptAnswer,
)
from client.errors import (
    ConnectionFailedError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    OverloadedError,
    PersonaError,
    ServerError,
    UnavailableError,
)
from client.rest import PersonaClient
from client.rest_async import AsyncPersonaClient
from client.results import Chunk, Completion, LikelyToken, Status, TokenLogprob, Trait

__all__ = [
    "AnswerChunk",
    "AsyncPersonaClient",
    "Chunk",
    "ComparedAnswer",
    "Comparison",
    "Completion",
    "ConnectionFailedError",
    "InvalidRequestError",
    "LikelyToken",
    "NotAllowedError",
    "NotFoundError",
    "OverloadedError",
    "PersonaClient",
    "PersonaError",
    "ServerError",
    "Status",
    "Steering",
    "Sweep",
    "SweptAnswer",
    "TokenLogprob",
    "Trait",
    "UnavailableError",
]
