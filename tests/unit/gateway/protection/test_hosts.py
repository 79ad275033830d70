"""The names that a gateway without keys may be asked for by."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.settings import Settings
from tests.unit.gateway.protection_gateway import KEYS, running

REBOUND = "rebound.example"


@pytest.mark.parametrize(
    ("settings", "server", "host", "status"),
    [
        ({}, "127.0.0.1", REBOUND, 403),
        ({}, "127.0.0.1", f"{REBOUND}:8000", 403),
        ({}, "::1", REBOUND, 403),
        ({}, "::ffff:127.0.0.1", REBOUND, 403),
        ({}, "127.0.0.1", "localhost.rebound.example", 403),
        ({}, "127.0.0.1", "", 403),
        ({}, "127.0.0.1", "127.0.0.1:8000", 200),
        ({}, "127.0.0.1", "[::1]:8000", 200),
        ({}, "127.0.0.1", "LOCALHOST:8000", 200),
        ({}, "127.0.0.1", "app.localhost", 200),
        ({}, "10.0.0.3", REBOUND, 403),
        ({}, "10.0.0.3", "local", 200),
        ({}, "10.0.0.3", "notlocal.example", 403),
        ({}, "10.0.0.3", "svc.cluster.local.example", 403),
        ({}, "10.0.0.3", "10.0.0.3.example", 403),
        ({}, "10.0.0.3", "127.1.rebound.example", 403),
        # Containers are asked by their service's name, probes by the pod's address.
        ({}, "10.0.0.3", "persona-gateway.default.svc:8000", 200),
        ({}, "10.0.0.3", "persona-gateway.default.svc.cluster.local.:8000", 200),
        ({}, "10.0.0.3", "gateway:8000", 200),
        ({}, "10.0.0.3", "10.0.0.3:8000", 200),
        ({}, "10.0.0.3", "Machine.local", 200),
        ({}, "10.0.0.3", "vm.zone.c.project.internal", 200),
        ({"api_keys": KEYS}, "127.0.0.1", REBOUND, 200),
        ({"allowed_hosts": "a.example, b.example"}, "127.0.0.1", "B.example.:443", 200),
        ({"allowed_hosts": "a.example"}, "10.0.0.3", REBOUND, 403),
        ({"allowed_hosts": "a.example"}, "10.0.0.3", "10.0.0.3:8000", 200),
        ({"allowed_hosts": "a.example"}, "10.0.0.3", "persona-gateway.default.svc", 200),
        ({"allowed_hosts": "a.example", "api_keys": KEYS}, "10.0.0.3", REBOUND, 403),
    ],
)
async def test_a_rebound_name_does_not_reach_a_keyless_gateway(
    settings: dict[str, Any], server: str, host: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(monkeypatch, **settings) as gateway:
        url = f"http://[{server}]" if ":" in server else f"http://{server}"
        answer = await gateway.http.get(f"{url}/health", headers={"Host": host})
        assert answer.status_code == status
        if status == 403:
            assert "ALLOWED_HOSTS" in answer.json()["error"]


@pytest.mark.parametrize("names", ["*", "a.example:8000", "http://a.example"])
def test_allowed_hosts_are_names(names: str) -> None:
    with pytest.raises(ValidationError, match="names without ports"):
        Settings(allowed_hosts=(names,))
