"""The service itself: what it is, and how it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway import __version__
from gateway.errors import GatewayError, NotReadyError
from gateway.schemas import ErrorResponse, StatusResponse
from gateway.state import Gateway, GatewayDependency

router = APIRouter(tags=["service"])

_ENDPOINTS = {
    "POST /api/v1/generate": "generate steered text",
    "POST /api/v1/generate/baseline": "generate text without steering",
    "GET /api/v1/traits": "list the traits",
    "GET /api/v1/traits/{name}": "describe one trait",
    "GET /status": "what is served, and whether it is ready",
    "GET /health": "whether the gateway runs",
    "GET /health/ready": "whether the model generates",
    "GET /docs": "interactive documentation",
}


@router.get("/")
async def root() -> dict[str, Any]:
    """Says what this is and which calls there are."""
    return {
        "name": "Persona Triton",
        "version": __version__,
        "description": "Qwen2.5 on Triton, its traits steered per request by persona vectors",
        "endpoints": list(_ENDPOINTS),
        "endpoint_descriptions": _ENDPOINTS,
    }


@router.get("/health")
async def health() -> dict[str, str]:
    """Says that the gateway runs; whether the model does, `/health/ready` knows."""
    return {"status": "healthy"}


@router.get(
    "/health/ready",
    responses={503: {"model": ErrorResponse, "description": "The model does not generate."}},
)
async def ready(gateway: GatewayDependency) -> dict[str, str]:
    """Generates a token (or has done so seconds ago) and says whether it worked."""
    try:
        await gateway.readiness.get()
    except GatewayError as error:
        raise NotReadyError(error.message, error.detail) from error
    return {"status": "ready"}


@router.get("/status")
async def status(gateway: GatewayDependency) -> StatusResponse:
    """Says which model is served, with which traits, and whether it is ready."""
    try:
        description = await gateway.description.get()
        await gateway.readiness.get()
    except GatewayError as error:
        return _initializing(gateway, error)
    return StatusResponse(
        status="ready",
        model=description["model"],
        device=description["device"],
        dtype=description.get("dtype"),
        compute_dtype=description.get("compute_dtype"),
        available_traits=sorted(description["traits"]),
        model_info=description["model_info"],
        problems=description.get("problems", []),
        engine=description.get("engine", {}),
    )


def _initializing(gateway: Gateway, error: GatewayError) -> StatusResponse:
    return StatusResponse(
        status="initializing",
        model=gateway.settings.shown_model_name,
        device=gateway.settings.device,
        available_traits=[],
        model_info={},
        error=error.message,
    )
