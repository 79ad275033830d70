"""Generating text, steered and not."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.dependencies import Gateway, GatewayDependency
from gateway.api.ensemble_requests import request_of, sent_vectors
from gateway.api.request_bodies import BaselineRequest, GenerateRequest
from gateway.api.response_bodies import GenerateResponse
from gateway.api.rest_answer import RestAnswer
from gateway.api.vector_parts import PartsRoute
from gateway.http.client_disconnect import run_until_disconnect
from gateway.http.error_body import failures
from gateway.http.server_sent_events import EventStream

router = APIRouter(prefix="/api/v1/generate", tags=["generate"], route_class=PartsRoute)

_STREAM_EXAMPLE = (
    'event: chunk\ndata: {"text":"Put the egg","tokens_generated":4}\n\n'
    'event: done\ndata: {"success":true,"response":"Put the egg in hot water.", ...}\n\n'
)

FAILURES = failures(
    {
        400: "Unknown trait, or a value the model refuses.",
        401: "There is no API key, or it is not valid.",
        403: "The policy forbids this steering.",
        413: "The body is too large.",
        422: "The body does not validate.",
        429: "Too many requests are waiting.",
        500: "The model failed on this request.",
        503: "The model is away, or too busy.",
        504: "The model took too long.",
    }
)
"""How calls that generate can fail."""

_RESPONSES = FAILURES | {
    200: {
        "description": "The answer; with `stream`, as server-sent events.",
        "content": {"text/event-stream": {"example": _STREAM_EXAMPLE}},
    }
}


@router.post("", response_model=GenerateResponse, responses=_RESPONSES)
async def generate(
    body: GenerateRequest, request: Request, gateway: GatewayDependency
) -> GenerateResponse | Response:
    """Answers a prompt with traits turned up (positive scalars), down (negative) or bounded."""
    told = {"trait": body.trait, "scalar": body.scalar or 0.0, "steering": body.steering}
    return await _answer(body, told, request, gateway)


@router.post("/baseline", response_model=GenerateResponse, responses=_RESPONSES)
async def generate_baseline(
    body: BaselineRequest, request: Request, gateway: GatewayDependency
) -> GenerateResponse | Response:
    """Answers a prompt without steering."""
    return await _answer(body, {"trait": None, "scalar": 0.0}, request, gateway)


async def _answer(
    body: BaselineRequest, told: dict[str, Any], request: Request, gateway: Gateway
) -> GenerateResponse | Response:
    vectors = await sent_vectors(body.vectors, gateway.settings)
    asked = request_of(body, gateway.settings).bringing(vectors)
    generation = await gateway.triton.generate(asked)
    logprobs = body.logprobs is not None
    answer = RestAnswer(log_fields=request.state.log_fields, logprobs=logprobs, **told)
    if body.stream:
        heartbeat = gateway.settings.heartbeat_interval
        return EventStream(answer.events(generation), heartbeat, answer.error_event)
    return await run_until_disconnect(request.receive, answer.complete(generation))
