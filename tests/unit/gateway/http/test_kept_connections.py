"""Connections between two requests: kept for longer than who sends them keeps theirs."""

from __future__ import annotations

import uvicorn

from gateway.http.connections import connection_options
from gateway.settings import Settings
from tests.unit.gateway.http.patience import GET_HEALTH, SOON, App
from tests.unit.gateway.served_gateway import exchange, served

NGINX_KEEPS_SECONDS = 60


def test_connections_are_kept_for_longer_than_proxies_keep_theirs() -> None:
    config = uvicorn.Config(App(), **connection_options(Settings.read({})))
    assert config.timeout_keep_alive > NGINX_KEEPS_SECONDS


async def test_how_long_can_be_set() -> None:
    settings = Settings.read({"KEEPALIVE_TIMEOUT": str(SOON)})
    async with served(App(), settings) as port:
        request = GET_HEALTH.replace(b"Connection: close\r\n", b"")
        # Returns only once the gateway has ended the connection.
        assert (await exchange(port, request)).endswith(b"fine")
