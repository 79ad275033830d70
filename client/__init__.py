"""Clients of the gateway, which need only httpx.

`client.triton` has one that speaks to Triton directly; it needs tritonclient and numpy.
"""

from client.errors import (
    ConnectionFailedError,
    InvalidRequestError,
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
    "AsyncPersonaClient",
    "Chunk",
    "Completion",
    "ConnectionFailedError",
    "InvalidRequestError",
    "LikelyToken",
    "NotFoundError",
    "OverloadedError",
    "PersonaClient",
    "PersonaError",
    "ServerError",
    "Status",
    "TokenLogprob",
    "Trait",
    "UnavailableError",
]
