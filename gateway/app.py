"""The application: its parts, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from gateway import __version__
from gateway.cached import Cached
from gateway.errors import OverloadedError
from gateway.generation import Deadlines
from gateway.middleware import REQUEST_ID_HEADER, BodyLimit, RequestContext
from gateway.model_health import ModelHealth
from gateway.responses import install_error_handlers
from gateway.routes import generate, service, traits
from gateway.settings import Settings
from gateway.state import Gateway
from gateway.triton_client import TritonClient
from gateway.watchdog import Watchdog

_logger = logging.getLogger(__name__)

_DESCRIPTION_AGE = 1.0


def create_app(settings: Settings | None = None) -> FastAPI:
    """Returns the gateway's ASGI application.

    Args:
        settings: The configuration; the environment's when left out.

    Raises:
        pydantic.ValidationError: An environment variable has a value that cannot be used.
    """
    configuration = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        gateway = _open_gateway(configuration)
        app.state.gateway = gateway
        watchdog = None
        if configuration.watchdog:
            watchdog = asyncio.create_task(Watchdog(gateway.triton, configuration).run())
        _logger.info("serving", extra={"triton": configuration.triton_url})
        try:
            yield
        finally:
            if watchdog is not None:
                watchdog.cancel()
                with suppress(asyncio.CancelledError):
                    await watchdog
            await gateway.triton.close()

    app = FastAPI(
        title="Persona Triton",
        version=__version__,
        description=(
            "Text from a Qwen2.5 on Triton whose traits are steered per request: a positive "
            "scalar turns a trait up, a negative one turns it down."
        ),
        lifespan=lifespan,
    )
    for module in (generate, traits, service):
        app.include_router(module.router)
    install_error_handlers(app)
    _install_middleware(app, configuration)
    return app


def _open_gateway(settings: Settings) -> Gateway:
    deadlines = Deadlines(
        first=settings.first_chunk_timeout,
        between=settings.chunk_timeout,
        total=settings.request_timeout,
    )
    triton = TritonClient(settings.triton_url, deadlines)
    health = ModelHealth(triton)

    async def probe() -> None:
        # A model that refuses at once because it is full is at work.
        with suppress(OverloadedError):
            await health.probe(settings.ready_timeout)

    return Gateway(
        settings=settings,
        triton=triton,
        description=Cached(triton.describe, _DESCRIPTION_AGE),
        readiness=Cached(probe, settings.ready_cache),
    )


def _install_middleware(app: FastAPI, settings: Settings) -> None:
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", REQUEST_ID_HEADER],
            expose_headers=[REQUEST_ID_HEADER, "Retry-After"],
        )
    app.add_middleware(RequestContext)
