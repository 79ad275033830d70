"""What is broken on purpose, when, and how long it takes until everything is served again."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.soak.ledger import Fault, Ledger
from benchmarks.soak.processes import STEP, TRITON
from benchmarks.soak.servers import ENGINE, Servers, StartError

STUB_KILLED = "kill -9 of the model's process"
TRITON_KILLED = "kill -9 of Triton"
GATEWAY_RESTARTED = "SIGTERM of a gateway, and another one"

_MINUTES_BETWEEN = {STUB_KILLED: 3.0, GATEWAY_RESTARTED: 5.0, TRITON_KILLED: 10.0}
"""Each comes about this often, and once at least, however short the time: far from what the
supervisor's budget of restarts allows."""

_CALM_SHARE = 0.2
"""Of the time, at its end: leaks of processes that a fault has made anew need time to show."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault that is to come, so many seconds after the load began."""

    kind: str
    at: float


def plan(seconds: float, pick: random.Random) -> list[Planned]:
    """Returns the faults of a time, in order."""
    planned = []
    usable = seconds * (1 - _CALM_SHARE)
    for kind, minutes in _MINUTES_BETWEEN.items():
        number = max(1, round(usable / (60 * minutes)))
        width = usable / number
        planned += [
            Planned(kind, width * (index + pick.uniform(0.2, 0.9))) for index in range(number)
        ]
    return sorted(planned, key=lambda each: each.at)


async def break_things(planned: list[Planned], servers: Servers, ledger: Ledger) -> None:
    """Does what is planned, one after the other; the next waits until all is served again."""
    began = time.monotonic()
    for each in planned:
        await asyncio.sleep(max(0.0, began + each.at - time.monotonic()))
        try:
            await _break(each.kind, servers, ledger)
        except (StartError, ProcessLookupError) as error:
            ledger.lose(each.kind, f"not served again: {error!r}")


async def _break(kind: str, servers: Servers, ledger: Ledger) -> None:
    fault = Fault(kind, "", time.monotonic())
    ledger.faults.append(fault)
    if kind == GATEWAY_RESTARTED:
        fault.gateway = servers.second.name
        async with servers.keys_in_use:
            status = await servers.stop_second()
            if status:
                ledger.lose(kind, f"the gateway ended with status {status}")
            servers.start_second()
            await servers.served(servers.second)
    else:
        servers.kill(f"{STEP}{ENGINE}" if kind == STUB_KILLED else TRITON)
        for gateway in servers.gateways:
            await servers.served(gateway)
    fault.ended = time.monotonic()
