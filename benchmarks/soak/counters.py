"""What the servers count themselves: that it returns to nothing, and that it adds up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable

from benchmarks.prometheus_text import Scrape, rises
from benchmarks.soak.bad_input import CHAT, COMPLETIONS, GENERATE, JSON
from benchmarks.soak.servers import GatewayProcess, Servers
from benchmarks.soak.traffic import COMPARE, SWEEP, Traffic
from benchmarks.soak.wire import WireCall, connected, exchange

PATIENCE_SECONDS = 60.0
COUNTED = (GENERATE, COMPARE, SWEEP, CHAT, COMPLETIONS)
"""The routes that only the users call, and no probe."""

AUDITED = "soak_audit"
WHOLE, CUT, REFUSED = 10, 5, 5


class ScrapeError(Exception):
    """A server does not give its metrics."""


async def scrape(port: int, key: str) -> Scrape:
    """Reads a server's metrics.

    Raises:
        ScrapeError: It gives none.
    """
    call = WireCall("GET", "/metrics", {"authorization": f"Bearer {key}"})
    try:
        reply = await asyncio.wait_for(exchange(port, call), 30)
    except (OSError, asyncio.TimeoutError) as error:
        raise ScrapeError(f"port {port}: {error!r}") from error
    if reply.status != 200:
        raise ScrapeError(f"port {port}: {reply.status}")
    return Scrape(reply.text)


async def busy(servers: Servers) -> list[str]:
    """Returns the gauges that are not at zero, with their values."""
    key = servers.keys.user
    gauges = {}
    for gateway in servers.gateways:
        name = "persona_gateway_generations_in_flight"
        gauges[f"{name} ({gateway.name})"] = (await scrape(gateway.port, key)).get(name)
    triton = await scrape(servers.metrics_port, key)
    for name in ("requests_running", "requests_waiting", "kv_cache_used_tokens"):
        gauges[f"persona_{name}"] = triton.get(f"persona_{name}")
    return [f"{name} is {value:g}" for name, value in gauges.items() if value]


async def uncounted(servers: Servers, traffic: Traffic, before: Scrape) -> list[str]:
    """Returns what the first gateway has counted otherwise than the users have."""
    rise = rises(before, await scrape(servers.first.port, servers.keys.user))
    found = []
    for route in COUNTED:
        counted = rise("persona_gateway_requests_total", route=route)
        least = traffic.reached["must"][route]
        most = least + traffic.reached["may"][route]
        if not least <= counted <= most:
            found.append(f"{route}: {counted:g} requests counted, {least} to {most} sent")
    return found


async def audit(servers: Servers, vector: bytes) -> list[str]:
    """Has requests end in each way, and returns what idle servers' counters missed of them."""
    gateway, key = servers.first, servers.keys.user
    path = f"/api/v1/traits/{AUDITED}"
    as_admin = {"x-api-key": servers.keys.admin}
    put = await exchange(gateway.port, WireCall("PUT", f"{path}?format=json", as_admin, vector))
    if put.status not in (200, 201):
        return [f"the audit's vector was refused: {put.status} {put.text}"]
    before = await scrape(gateway.port, key), await scrape(servers.metrics_port, key)
    statuses = await _send_audited(gateway, key)
    generations = WHOLE + CUT
    sent = generations + REFUSED

    async def differences() -> list[str]:
        of_gateway = rises(before[0], await scrape(gateway.port, key))
        of_triton = rises(before[1], await scrape(servers.metrics_port, key))
        ended = {
            outcome: of_triton("persona_requests_total", outcome=outcome)
            for outcome in ("finished", "cancelled", "failed")
        }
        generated = of_gateway("persona_gateway_generations_total")
        steered = of_triton("persona_steered_requests_total", trait=AUDITED)
        sums = {
            "requests": of_gateway("persona_gateway_requests_total", route=GENERATE) - sent,
            "the gateway's generations": generated - generations,
            "the engine's steered requests": steered - generations,
            "failed requests of the engine": ended["failed"],
            # Probes end there, too.
            "ended requests of the engine, missing": max(0.0, generations - sum(ended.values())),
        }
        return [f"{name}: {value:+g}" for name, value in sums.items() if value]

    found = await settled(differences)
    await exchange(gateway.port, WireCall("DELETE", path, as_admin))
    wrong = [status for status in statuses if status not in (200, 422)]
    return found + ([f"statuses {wrong}"] if wrong else [])


async def supervisor_says(servers: Servers) -> str:
    """Returns how often the supervisor has repaired something, and what state it is in."""
    reply = await exchange(servers.status_port, WireCall("GET", "/status", {}))
    status = reply.json()
    return f"{status['reloads']} reloads, {status['restarts']} restarts; {status['state']}"


async def settled(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Returns what a look finds once it finds nothing, or after a time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = await look()
        except ScrapeError as error:
            found = [str(error)]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


async def _send_audited(gateway: GatewayProcess, key: str) -> Iterable[int]:
    headers = {**JSON, "authorization": f"Bearer {key}"}
    body = {"prompt": "Hi", "trait": AUDITED, "scalar": 0.5, "max_tokens": 8}

    def call(**more: object) -> WireCall:
        return WireCall("POST", GENERATE, headers, json.dumps({**body, **more}).encode())

    async def cut() -> int:
        async with connected(gateway.port) as connection:
            await connection.send(call(stream=True, max_tokens=600, min_tokens=600).encoded())
            reply = await connection.head()
            await connection.piece(reply)
            return reply.status

    replies = [await exchange(gateway.port, call(stream=index % 2 == 0)) for index in range(WHOLE)]
    refused = [await exchange(gateway.port, call(max_tokens=-1)) for _ in range(REFUSED)]
    return [*(reply.status for reply in [*replies, *refused]), *[await cut() for _ in range(CUT)]]
