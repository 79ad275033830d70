"""The traits that requests can name."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from gateway.errors import TraitNotFoundError
from gateway.schemas import ErrorResponse, Trait, TraitsResponse
from gateway.state import Gateway, GatewayDependency

router = APIRouter(prefix="/api/v1/traits", tags=["traits"])

_UNAVAILABLE: dict[int | str, dict[str, Any]] = {
    503: {"model": ErrorResponse, "description": "The model cannot be asked at the moment."}
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "There is no such trait."}
}


@router.get("", responses=_UNAVAILABLE)
async def list_traits(gateway: GatewayDependency) -> TraitsResponse:
    """Lists the traits with what is known about their vectors."""
    return TraitsResponse(traits=await _traits(gateway))


@router.get("/{name}", responses=_UNAVAILABLE | _NOT_FOUND)
async def get_trait(name: str, gateway: GatewayDependency) -> Trait:
    """Describes one trait."""
    traits = await _traits(gateway)
    if name not in traits:
        there_are = ", ".join(sorted(traits)) or "none"
        raise TraitNotFoundError(f"unknown trait {name!r}: the traits are {there_are}")
    return traits[name]


async def _traits(gateway: Gateway) -> dict[str, Trait]:
    description = await gateway.description.get()
    return {name: Trait(**fields) for name, fields in description["traits"].items()}
