"""`python -m gateway` serves the gateway.

python -m gateway           until SIGTERM or SIGINT
python -m gateway check     not at all: only says whether its settings can be used
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence

import uvicorn

from gateway.http.connections import connection_options
from gateway.observability.workers import shared_folder
from gateway.protection.configuration import ConfigurationError
from gateway.protection.protection import Protection
from gateway.settings import Settings
from triton_models.logs import configure_logging
from triton_models.variables import SettingsError


def main(arguments: Sequence[str]) -> None:
    """Serves, or checks; settings that cannot be used are a line each and status 2."""
    if arguments not in ([], ["check"]):
        sys.exit("usage: python -m gateway [check]")
    try:
        settings = Settings.read()
        # Here, once, rather than in each worker, which would be started again and again.
        asyncio.run(Protection(settings).close())
    except (SettingsError, ConfigurationError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    if arguments:
        return
    with shared_folder(settings.workers):
        uvicorn.run(
            "gateway.__main__:serve_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            log_config=None,
            log_level=settings.log_level.lower(),
            server_header=False,
            # By itself uvicorn believes whatever runs on this machine.
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=settings.shutdown_timeout,
            **connection_options(settings),
        )


def serve_app() -> object:
    """Makes the application in a worker process, which inherits no logging."""
    from gateway.app import create_app

    settings = Settings.read()
    configure_logging(settings.log_level, settings.log_format)
    # One line per request is ours, with the ids and the outcome in it.
    logging.getLogger("uvicorn.access").disabled = True
    return create_app(settings)


if __name__ == "__main__":
    main(sys.argv[1:])
