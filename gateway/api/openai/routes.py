"""The calls of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.dependencies import Gateway, GatewayDependency
from gateway.api.openai.completion import (
    CHAT,
    CompletionAnswer,
    CompletionKind,
    calling_chat,
    text_completion,
)
from gateway.api.openai.ensemble_requests import (
    bringing_vectors,
    chat_requests,
    completion_requests,
)
from gateway.api.openai.model_names import asked_traits, model_card, model_cards, named_traits
from gateway.api.openai.requests import ChatRequest, CompletionFields, CompletionRequest
from gateway.api.openai.respond import respond
from gateway.ensemble_request import EnsembleRequest
from gateway.http.bodies import BoundedRoute
from gateway.http.openai_errors import FAILURES, PREFIX

router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=BoundedRoute)

_CHUNK = '"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" egg"}, ...}]'

_COMPLETION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"enum": ["chat.completion", "text_completion"]},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "finish_reason": {"type": "string"},
                    "logprobs": {"type": ["object", "null"]},
                    "message": {"type": "object", "required": ["role", "content"]},
                    "text": {"type": "string"},
                    "steering": {"type": "object"},
                },
                "required": ["index", "finish_reason", "logprobs"],
            },
        },
        "usage": {
            "type": "object",
            "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
            "additionalProperties": {"type": ["integer", "object"]},
        },
    },
    "required": ["id", "object", "created", "model", "choices", "usage"],
}

_COMPLETIONS = FAILURES | {
    200: {
        "description": "The answers; with `stream`, as server-sent events.",
        "content": {
            "application/json": {"schema": _COMPLETION},
            "text/event-stream": {
                "example": f'data: {{"id":"chatcmpl-1",{_CHUNK}}}\n\ndata: [DONE]\n\n'
            },
        },
    },
}


@router.post("/chat/completions", response_model=None, responses=_COMPLETIONS)
async def create_chat_completion(
    body: ChatRequest, request: Request, gateway: GatewayDependency
) -> dict[str, Any] | Response:
    """Answers a chat, steered if `steering` or the model's name says so."""
    traits = await asked_traits(body, gateway)
    requests = chat_requests(body, traits, gateway.settings)
    kind = calling_chat(body.calling.names) if body.calling else CHAT
    return await _answer(kind, body, requests, request, gateway)


@router.post("/completions", response_model=None, responses=_COMPLETIONS)
async def create_completion(
    body: CompletionRequest, request: Request, gateway: GatewayDependency
) -> dict[str, Any] | Response:
    """Continues prompts, steered if `steering` or the model's name says so."""
    traits = await asked_traits(body, gateway)
    requests = completion_requests(body, traits, gateway.settings)
    kind = text_completion(echoes=body.echo, scores_prompt=body.prompt_logprobs is not None)
    return await _answer(kind, body, requests, request, gateway)


@router.get("/models", responses=FAILURES)
async def list_models(gateway: GatewayDependency) -> dict[str, Any]:
    """Lists the model, and what it is under each trait."""
    return {"object": "list", "data": model_cards(await gateway.description.get())}


# Models' names have slashes.
@router.get("/models/{name:path}", responses=FAILURES)
async def retrieve_model(name: str, gateway: GatewayDependency) -> dict[str, Any]:
    """Describes a model, also one that is not on the list, such as `persona:sarcasm=0.5`."""
    description = await gateway.description.get()
    named_traits(name, description)
    return model_card(name, description)


async def _answer(
    kind: CompletionKind,
    body: CompletionFields,
    requests: Sequence[EnsembleRequest],
    request: Request,
    gateway: Gateway,
) -> dict[str, Any] | Response:
    requests = await bringing_vectors(requests, body, gateway.settings)
    completion = CompletionAnswer(
        kind,
        body.model,
        await gateway.triton.generate_all(requests),
        per_prompt=body.n,
        logprobs=requests[0].parsed.logprobs is not None,
        include_usage=body.stream_options.include_usage,
        continuous_usage=body.stream_options.continuous_usage_stats,
        log_fields=request.state.log_fields,
    )
    return await respond(completion, body, request, gateway)
