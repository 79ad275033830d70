"""One try of a generation, on one server."""

from __future__ import annotations

from typing import Protocol

from gateway.errors import GatewayError
from gateway.triton.stream import TritonStream


class GenerationEngine(Protocol):
    """The server that an attempt runs on."""

    async def stop(self, request_id: str) -> bool:
        """Stops a request in the engine; says whether it was found there."""

    def closed(self, attempt: Attempt) -> None:
        """Notes that an attempt has ended, or that nobody reads it; perhaps again."""

    def failed(self, error: GatewayError) -> None:
        """Notes that it has failed an attempt."""


class Attempt:
    """A generation as one server has it.

    Attributes:
        stream: The stream with the request.
        engine: Where the request can be stopped.
        interruption: Why it was ended from outside, if it was.

    Args:
        request_id: The request's id in Triton.
        stream: The stream.
        engine: The server.
    """

    def __init__(self, request_id: str, stream: TritonStream, engine: GenerationEngine) -> None:
        self._request_id = request_id
        self.stream = stream
        self.engine = engine
        self.interruption: GatewayError | None = None

    def interrupt(self, error: GatewayError) -> None:
        """Ends it for its reader with an error that another part of us found."""
        self.interruption = error
        self.stream.cancel()

    async def stop(self) -> bool:
        """Stops it in its engine; says whether it was found there."""
        return await self.engine.stop(self._request_id)
