"""The call of OpenAI's newer API that answers chats."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.api.dependencies import GatewayDependency
from gateway.api.openai.ensemble_requests import bringing_vectors, response_request
from gateway.api.openai.model_names import asked_traits
from gateway.api.openai.respond import respond
from gateway.api.openai.response_answer import ResponseAnswer
from gateway.api.openai.response_requests import ResponseRequest
from gateway.errors import InvalidRequestError
from gateway.http.bodies import BoundedRoute
from gateway.http.openai_errors import FAILURES, PREFIX
from triton_models.contract.tensors import PROMPT_INPUTS

router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=BoundedRoute)

_RESPONSE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "response"},
        "created_at": {"type": "integer"},
        "status": {"enum": ["completed", "incomplete"]},
        "model": {"type": "string"},
        "output": {"type": "array", "items": {"type": "object", "required": ["type", "content"]}},
        "usage": {
            "type": "object",
            "required": ["input_tokens", "output_tokens", "total_tokens"],
        },
        "steering": {"type": "object"},
    },
    "required": ["id", "object", "created_at", "status", "model", "output", "usage"],
}

_DELTA = 'data: {"type":"response.output_text.delta","sequence_number":4,"delta":" egg", ...}'

_RESPONSES = FAILURES | {
    200: {
        "description": "The answer; with `stream`, as server-sent events.",
        "content": {
            "application/json": {"schema": _RESPONSE},
            "text/event-stream": {"example": f"event: response.output_text.delta\n{_DELTA}\n\n"},
        },
    },
}


@router.post("/responses", response_model=None, responses=_RESPONSES)
async def create_response(
    body: ResponseRequest, request: Request, gateway: GatewayDependency
) -> dict[str, Any] | Response:
    """Answers a chat, steered if `steering` or the model's name says so; nothing is stored."""
    traits = await asked_traits(body, gateway)
    bare = response_request(body, traits, gateway.settings)
    (asked,) = await bringing_vectors([bare], body, gateway.settings)
    generation = await gateway.triton.generate(asked)
    answer = ResponseAnswer(body, asked, generation, request.state.log_fields)
    return await respond(answer, body, request, gateway)


@router.post("/responses/input_tokens", responses=FAILURES)
async def count_input_tokens(body: ResponseRequest, gateway: GatewayDependency) -> dict[str, Any]:
    """Counts the tokens that the model would read for a response, without answering."""
    traits = await asked_traits(body, gateway)
    values = response_request(body, traits, gateway.settings).values
    prompt = {each.name: values[each.name] for each in PROMPT_INPUTS if each.name in values}
    try:
        tokens = await gateway.triton.ask_one(lambda server: server.tokenize(prompt))
    except InvalidRequestError as error:
        raise body.named(error) from error
    return {"object": "response.input_tokens", "input_tokens": len(tokens)}
