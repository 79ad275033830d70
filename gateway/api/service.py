"""The service itself: what it is, and how it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from gateway import __version__
from gateway.api.dependencies import GatewayDependency
from gateway.api.playground import playground_file
from gateway.api.response_bodies import StatusResponse
from gateway.api.traits import traits_of
from gateway.errors import GatewayError, NotReadyError
from gateway.http.accept import prefers_html
from gateway.http.error_body import NO_KEY, failures
from gateway.observability.metrics import CONTENT_TYPE, METRICS_PATH

router = APIRouter(tags=["service"])

_ENDPOINTS = {
    "GET /": "this list; in a browser, the playground",
    "POST /api/v1/generate": "generate steered text",
    "POST /api/v1/generate/baseline": "generate text without steering",
    "POST /api/v1/compare": "generate under several steerings at once",
    "POST /api/v1/sweep": "generate at several strengths of a trait at once",
    "POST /v1/chat/completions": "answer a chat, as OpenAI's API",
    "POST /v1/completions": "continue prompts, as OpenAI's API",
    "POST /v1/responses": "answer a chat, as OpenAI's newer API",
    "POST /v1/responses/input_tokens": "count the tokens of one",
    "GET /v1/models": "list the model, plain and under each trait, as OpenAI's API",
    "GET /api/v1/traits": "list the traits",
    "GET /api/v1/traits/{name}": "describe one trait",
    "PUT /api/v1/traits/{name}": "upload a trait's vector (admin)",
    "DELETE /api/v1/traits/{name}": "remove a trait's vector (admin)",
    "GET /status": "what is served, and whether it is ready",
    "GET /health": "whether the gateway runs",
    "GET /health/ready": "whether the models answer",
    "GET /docs": "interactive documentation",
}


_DESCRIPTION = {
    "name": "Persona Triton",
    "version": __version__,
    "description": "Qwen2.5 on Triton, its traits steered per request by persona vectors",
    "endpoints": list(_ENDPOINTS),
    "endpoint_descriptions": _ENDPOINTS,
}


# FastAPI adds this to the ways to send a key: sending none is one, too.
_PUBLIC: dict[str, Any] = {"security": [{}]}


@router.get(
    "/",
    responses={200: {"content": {"application/json": {}, "text/html": {}}}},
    openapi_extra=_PUBLIC,
)
def root(request: Request) -> Response:
    """Says what this is and which calls there are; who prefers HTML gets the playground."""
    if prefers_html(request.headers.get("accept", "")):
        response = playground_file(request, "index.html")
    else:
        response = JSONResponse(_DESCRIPTION)
    response.headers["Vary"] = "Accept"
    return response


@router.get("/health", openapi_extra=_PUBLIC)
async def health() -> dict[str, str]:
    """Says that the gateway runs; whether the model does, `/health/ready` knows."""
    return {"status": "healthy"}


@router.get(
    "/health/ready", responses=failures({503: "The models do not answer."}), openapi_extra=_PUBLIC
)
async def ready(gateway: GatewayDependency) -> dict[str, str]:
    """Says whether a server's models answer, or did when they were last looked at."""
    try:
        await gateway.readiness.get()
    except GatewayError as error:
        raise NotReadyError(error.message, error.detail) from error
    return {"status": "ready"}


@router.get("/status", responses=NO_KEY)
async def status(gateway: GatewayDependency) -> StatusResponse:
    """Says which model is served, with which traits, and whether it is ready."""
    try:
        description = await gateway.description.get()
        await gateway.readiness.get()
    except GatewayError as error:
        return StatusResponse(
            status="initializing",
            model=gateway.settings.shown_model_name,
            device=gateway.settings.device,
            available_traits=[],
            model_info={},
            error=error.message,
            warnings=gateway.protection.warnings(),
        )
    return StatusResponse(
        status="ready",
        model=description["model"],
        device=description["device"],
        dtype=description.get("dtype"),
        compute_dtype=description.get("compute_dtype"),
        available_traits=sorted(description["traits"]),
        model_info=description["model_info"],
        traits=traits_of(description),
        problems=description.get("problems", []),
        engine=description.get("engine", {}),
        warnings=gateway.protection.warnings(description["traits"]),
    )


# Not a coroutine: with several workers it reads files, which must not hold up the streams.
@router.get(
    METRICS_PATH, response_class=Response, responses=NO_KEY | {200: {"content": {"text/plain": {}}}}
)
def metrics(gateway: GatewayDependency) -> Response:
    """Gives what the gateway has counted and timed; it does not ask Triton."""
    return Response(gateway.metrics.exposition(), media_type=CONTENT_TYPE)
