"""The application: its parts, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import Scope

from gateway import __version__
from gateway.api import compare, documentation, generate, playground, service, traits
from gateway.api.cached_call import CachedCall
from gateway.api.dependencies import Gateway
from gateway.api.openai import response_routes, tokens
from gateway.api.openai import routes as openai
from gateway.api.readiness import Readiness
from gateway.generation.dispatcher import Dispatcher
from gateway.generation.generation import Deadlines
from gateway.http.encoded_bodies import EncodedBodies
from gateway.http.error_responses import install_error_handlers
from gateway.http.request_context import REQUEST_ID_HEADER, BodyLimit, RequestContext
from gateway.http.request_forms import RequestForms
from gateway.observability.access_log import AccessLog
from gateway.observability.metrics import GatewayMetrics
from gateway.observability.tracing import open_tracing
from gateway.protection.access import SHOWN_SCHEMES, AccessControl
from gateway.protection.guard import Guard
from gateway.protection.hosts import HostCheck
from gateway.protection.protection import Protection
from gateway.protection.rate_limits import EXPOSED_HEADERS
from gateway.request_record import Observer, current_request
from gateway.settings import Settings
from gateway.traits.trait_changes import TraitFiles
from gateway.traits.vector_files import VectorStore
from gateway.triton.health import HealthWatch, check_readiness
from gateway.triton.server import TritonServer
from gateway.triton.servers import TritonServers
from gateway.triton.shared_findings import SharedFindings
from gateway.triton_addresses import TritonAddresses

_logger = logging.getLogger(__name__)

# A changed vector file is to be seen here within two seconds, most of which the engine may take.
_DESCRIPTION_AGE = 0.5


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the gateway's ASGI application.

    Raises:
        SettingsError: An environment variable has a value that cannot be used.
        ConfigurationError: Neither can the keys, the policy or the audit log.
    """
    configuration = settings or Settings.read()
    metrics = GatewayMetrics()
    spans = open_tracing(configuration)
    protection = Protection(configuration)
    observers = [metrics, AccessLog(), *([spans] if spans else []), *protection.observers]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        servers = await _open_servers(configuration, metrics)
        gateway = _open_gateway(configuration, servers, metrics, observers, protection)
        app.state.gateway = gateway
        following = asyncio.create_task(protection.follow(metrics.stale_files_seen))
        for warning in protection.warnings():
            _logger.warning(warning)
        _logger.info("serving", extra={"triton": configuration.triton_url})
        try:
            yield
        finally:
            following.cancel()
            await asyncio.wait([following])
            await gateway.triton.settle()
            await servers.close()
            await protection.close()
            if spans is not None:
                await asyncio.to_thread(spans.close)

    app = FastAPI(
        title="Persona Triton",
        version=__version__,
        description=(
            "Text from a Qwen2.5 on Triton whose traits are steered per request: a positive "
            "scalar turns a trait up, a negative one turns it down."
        ),
        lifespan=lifespan,
        # FastAPI's own knows neither generations nor how streams end, and its records of bodies
        # that do not validate could hold prompts.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        dependencies=SHOWN_SCHEMES,
        # A request with a slash too many is served.
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if configuration.docs else None,
    )
    modules = (generate, compare, traits, openai, response_routes, tokens, service, playground)
    for module in modules:
        app.include_router(module.router)
    if configuration.docs:
        app.include_router(documentation.router)
    install_error_handlers(app)
    _install_middleware(app, configuration, observers, protection)
    return app


def _base64_bytes(size: int) -> int:
    """Returns how many characters base64 has for so many bytes in few pieces."""
    return 3 * size // 2


async def _open_servers(settings: Settings, metrics: GatewayMetrics) -> TritonServers:
    shared = SharedFindings.of_this_gateway()

    def watch(server: TritonServer, noted: Callable[[], None]) -> Coroutine[Any, Any, None]:
        return HealthWatch(server, settings.health_interval, shared, noted).run()

    servers = TritonServers(
        TritonAddresses(settings.triton_url),
        metrics,
        watch if settings.health_watch else None,
        settings.triton_access_key.get_secret_value(),
    )
    await servers.open()
    return servers


def _open_gateway(
    settings: Settings,
    servers: TritonServers,
    metrics: GatewayMetrics,
    observers: Sequence[Observer],
    protection: Protection,
) -> Gateway:
    deadlines = Deadlines(
        first=settings.first_chunk_timeout,
        between=settings.chunk_timeout,
        total=settings.request_timeout,
    )
    triton = Dispatcher(
        servers,
        deadlines,
        settings.max_open_requests,
        metrics,
        observers,
        partial(protection.admit, lambda: description.get()),
    )
    description: CachedCall[dict[str, Any]] = CachedCall(triton.describe, _DESCRIPTION_AGE)

    ask_whether_ready = partial(triton.ask_one, check_readiness)
    return Gateway(
        settings=settings,
        triton=triton,
        description=description,
        readiness=Readiness(
            lambda: servers.some_work, ask_whether_ready, metrics, settings.ready_cache
        ),
        metrics=metrics,
        trait_files=TraitFiles(
            VectorStore(settings.vectors_dir), triton.describe, settings.vector_timeout
        ),
        protection=protection,
    )


def _install_middleware(
    app: FastAPI, settings: Settings, observers: Sequence[Observer], protection: Protection
) -> None:
    # The last one added is the outermost.
    def limit_of(scope: Scope) -> int:
        if traits.is_upload(scope):
            return settings.max_vector_bytes
        if protection.takes_vectors(current_request.get()):
            return settings.max_body_bytes + _base64_bytes(settings.max_request_vectors_bytes)
        return settings.max_body_bytes

    # Of what is sent, and then of what that stands for.
    app.add_middleware(BodyLimit, limit_of=limit_of)
    app.add_middleware(EncodedBodies)
    app.add_middleware(BodyLimit, limit_of=limit_of)
    app.add_middleware(
        Guard,
        hosts=HostCheck(settings.allowed_hosts, protection.keys.required),
        access=AccessControl(protection.keys, settings),
        limiter=protection.limiter,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            # OpenAI's client for browsers sends a dozen headers of its own.
            allow_headers=["*"],
            expose_headers=[REQUEST_ID_HEADER, "Retry-After", *EXPOSED_HEADERS],
        )
    app.add_middleware(RequestForms)
    app.add_middleware(RequestContext, observers=observers)
