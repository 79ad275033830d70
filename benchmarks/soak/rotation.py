"""Keys that come and go: an added one soon opens, a removed one soon does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle

from benchmarks.soak.bad_input import broken_keys
from benchmarks.soak.servers import GatewayProcess, Servers, make_key
from benchmarks.soak.traffic import Traffic
from benchmarks.soak.wire import WireCall, exchange

BETWEEN_SECONDS = 15.0
PATIENCE_SECONDS = 60.0
"""The file is looked at every second; a gateway that is being restarted takes longer."""

BROKEN_SECONDS = 2.5
"""How long a broken file lies there: two looks at least."""

ADDED, REMOVED, BROKEN = "an added key opens", "a removed key does not", "a broken file of keys"


async def rotate(servers: Servers, traffic: Traffic) -> None:
    """Exchanges a key again and again, and breaks the file in between, until it is over."""
    old = ""
    broken = cycle(broken_keys().items())
    number = 0
    while not traffic.over:
        number += 1
        new = make_key(f"guest {servers.seed} {number}")
        async with servers.keys_in_use:
            if number % 2 == 0:
                name, text = next(broken)
                what = f"{BROKEN} ({name})"
                servers.keys.write_text(text)
                await asyncio.sleep(BROKEN_SECONDS)
                for gateway in servers.gateways:
                    await _see(traffic, what, gateway, servers.keys.user, opens=True)
            servers.keys.write(new)
        for gateway in servers.gateways:
            await _see(traffic, ADDED, gateway, new, opens=True)
            if old:
                await _see(traffic, REMOVED, gateway, old, opens=False)
        old = new
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(traffic.stopping.wait(), BETWEEN_SECONDS)


async def _see(
    traffic: Traffic, what: str, gateway: GatewayProcess, key: str, *, opens: bool
) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        # Each worker of a gateway follows the file on its own, and any one may answer.
        if await _opens(gateway, key) == [opens] * 4:
            return
        await asyncio.sleep(0.5)
    traffic.ledger.lose(what, f"not within {PATIENCE_SECONDS:.0f} s", gateway=gateway.name)


async def _opens(gateway: GatewayProcess, key: str) -> Sequence[bool | None]:
    """Returns whether a key opens, as several connections see it; `None` where none is answered."""
    found: list[bool | None] = []
    for _ in range(4):
        try:
            call = WireCall("GET", "/api/v1/traits/none", {"authorization": f"Bearer {key}"})
            reply = await asyncio.wait_for(exchange(gateway.port, call), 30)
        except (OSError, asyncio.TimeoutError):
            return [None]
        found.append(reply.status != 401 if reply.status else None)
    return found
