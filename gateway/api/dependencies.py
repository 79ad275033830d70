"""What the routes share: one of each per process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from gateway.api.cached_call import CachedCall
from gateway.api.readiness import Readiness
from gateway.generation.dispatcher import Dispatcher
from gateway.observability.metrics import GatewayMetrics
from gateway.protection.protection import Protection
from gateway.settings import Settings
from gateway.traits.trait_changes import TraitFiles


@dataclass(frozen=True, slots=True)
class Gateway:
    """The parts of a running gateway."""

    settings: Settings
    triton: Dispatcher
    description: CachedCall[dict[str, Any]]
    readiness: Readiness
    metrics: GatewayMetrics
    trait_files: TraitFiles
    protection: Protection


async def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayDependency = Annotated[Gateway, Depends(_gateway)]
