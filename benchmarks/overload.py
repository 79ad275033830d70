"""`python -m benchmarks.overload`: whether servers stay up that have far too much to do.

Many more clients stream than the batch and its queue have places, so that the queue is full all the
time and most requests are refused. Nothing may be loaded or started again meanwhile, and neither
the supervisor nor the gateway may call itself unready.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import httpx

from benchmarks.recovery import Clients, supervised_stack
from benchmarks.soak.verdicts import Outcome
from launcher.stack import Stack

ROWS, WAITING, CLIENTS = 4, 8, 64
_LOOK_SECONDS = 0.5


async def measure(stack: Stack, minutes: float) -> bool:
    """Prints what was seen; says whether nothing was restarted, unready or lost."""
    settings = stack.settings
    clients = Clients(settings.gateway_port, CLIENTS)
    looks = full = unready = 0
    ends = time.monotonic() + 60 * minutes
    async with httpx.AsyncClient(timeout=60) as http:
        while time.monotonic() < ends:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            for url in (f"{settings.status_url}/ready", f"{settings.gateway_url}/health/ready"):
                unready += (await http.get(url)).status_code != 200
            engine = (await http.get(f"{settings.gateway_url}/status")).json().get("engine", {})
            full += engine.get("waiting") == WAITING
    await clients.stop()
    snapshot = stack.status.snapshot()
    print(
        f"{minutes:g} minutes with {CLIENTS} streams for {ROWS} rows and {WAITING} places to wait: "
        f"the queue was full in {full / max(looks, 1):.0%} of {looks} looks, {unready} times "
        f"something was not ready, {snapshot.reloads} models were loaded again, "
        f"{snapshot.restarts} servers started again; streams: {clients.summary}"
    )
    return not (unready or snapshot.reloads or snapshot.restarts or clients.ended[Outcome.LOST])


def main() -> int:
    """Measures what the command line asks for; the exit status is 1 if anything gave way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    with supervised_stack(MAX_BATCH_ROWS=str(ROWS), MAX_WAITING=str(WAITING)) as stack:
        sound = asyncio.run(measure(stack, arguments.minutes))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
