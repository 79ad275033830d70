"""Answers a request as one body, or as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from fastapi import Request
from starlette.responses import Response

from gateway.api.dependencies import Gateway
from gateway.api.openai.requests import GenerationFields
from gateway.errors import GatewayError, InvalidRequestError
from gateway.http.client_disconnect import run_until_disconnect
from gateway.http.server_sent_events import EventStream


class Answer(Protocol):
    """What is said of one or more generations, prepared and not yet begun."""

    async def complete(self) -> dict[str, Any]:
        """Returns all of it; raises a `GatewayError` if a generation failed."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """Yields it as events; raises likewise."""

    def error_event(self, error: GatewayError) -> bytes:
        """Returns the event that ends a stream which has begun and cannot be completed."""


async def respond(
    answer: Answer, body: GenerationFields, request: Request, gateway: Gateway
) -> dict[str, Any] | Response:
    """Returns the answer, or a response that streams it if the body says so.

    Raises:
        GatewayError: A generation failed.
    """
    if body.stream:
        heartbeat = gateway.settings.heartbeat_interval
        return EventStream(_events(answer, body), heartbeat, answer.error_event)
    try:
        return await run_until_disconnect(request.receive, answer.complete())
    except InvalidRequestError as error:
        raise body.named(error) from error


async def _events(answer: Answer, body: GenerationFields) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(answer.events()) as events:
            async for event in events:
                yield event
    except InvalidRequestError as error:
        raise body.named(error) from error
