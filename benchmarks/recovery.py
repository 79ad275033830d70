"""`python -m benchmarks.recovery`: how long nothing is served after something was killed.

Sixteen clients stream all the time, and the model's process, then Triton itself, is killed with
signal 9 again and again. Requests are sent one after the other from then on: measured is the time
until one succeeds. Every stream has to end, as an answer or with an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.verdicts import AnswerKind, Expected, Outcome, judge
from benchmarks.soak.wire import Reply, WireCall, exchange
from launcher.loopback import loopback_settings, supervised
from launcher.processes import stub_models
from launcher.stack import Stack
from launcher.supervisor import TICK_SECONDS
from triton_models.contract.tensors import STEERED_QWEN

STREAMS = 16
TOKENS = 100
START_SECONDS = 240.0
DEADLINE_SECONDS = 90.0
"""After how long a request that has not ended hangs, and servers that do not serve are lost."""

MODEL, TRITON = "the model's process", "Triton"


def _call(**body: object) -> WireCall:
    headers = {"content-type": "application/json"}
    text = json.dumps({"prompt": "Tell me a story.", **body}).encode()
    return WireCall("POST", "/api/v1/generate/baseline", headers, text)


_STREAM = _call(max_tokens=TOKENS, min_tokens=TOKENS, stream=True)
_PROBE = _call(max_tokens=1)
_EXPECTED = Expected(AnswerKind.GENERATED, streamed=True)


class Clients:
    """Streams without pause until told to stop, and counts how they end."""

    def __init__(self, port: int, number: int = STREAMS) -> None:
        self._port = port
        self._stopping = False
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(number)]
        self.ended: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    async def stop(self) -> None:
        """Lets the open streams end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    @property
    def summary(self) -> str:
        """How the streams ended so far."""
        return ", ".join(f"{count} {outcome.value}" for outcome, count in self.ended.items())

    async def _ask(self) -> None:
        while not self._stopping:
            reply = await _asked(self._port, _STREAM)
            self.ended[judge(reply, _EXPECTED, "").outcome] += 1
            if reply.status != 200:
                await asyncio.sleep(0.1)


async def _asked(port: int, call: WireCall) -> Reply:
    try:
        return await asyncio.wait_for(exchange(port, call), DEADLINE_SECONDS)
    except (OSError, asyncio.TimeoutError):
        return Reply()


async def _kill(stack: Stack, what: str) -> float:
    """Kills something, and returns after how many seconds a request succeeds again."""
    assert stack.triton
    pid = stack.triton.pid
    if what == MODEL:
        (pid,) = (stub for stub, model in stub_models(pid).items() if model == STEERED_QWEN)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    # What was asked before anybody can have noticed says nothing.
    await asyncio.sleep(2 * TICK_SECONDS)
    while (await _asked(stack.settings.gateway_port, _PROBE)).status != 200:
        if time.monotonic() - killed > DEADLINE_SECONDS:
            raise SystemExit(f"nothing is served {DEADLINE_SECONDS:.0f} s after {what} was killed")
        await asyncio.sleep(0.02)
    return time.monotonic() - killed


async def measure(stack: Stack, kills: dict[str, int]) -> bool:
    """Prints the times; says whether every stream has ended properly."""
    clients = Clients(stack.settings.gateway_port)
    for what, times in kills.items():
        seconds = []
        for _ in range(times):
            await asyncio.sleep(1.0)
            seconds.append(await _kill(stack, what))
        print(
            f"{what} killed {times} times under {STREAMS} streams: served again after "
            f"{statistics.median(seconds):.1f} s at the median, {max(seconds):.1f} s at most",
            flush=True,
        )
    await clients.stop()
    print(f"streams: {clients.summary}")
    return not clients.ended[Outcome.LOST]


@contextmanager
def supervised_stack(**variables: str) -> Iterator[Stack]:
    """Runs servers on free ports, and looks after them as `python -m launcher` does."""
    with tempfile.TemporaryDirectory(prefix="persona-supervised-") as folder:
        settings = loopback_settings(Path(folder), START_SECONDS)
        environment = {"TORCH_THREADS": "1", **variables}
        with Stack(settings, environment, say=lambda _: None) as stack, supervised(stack):
            yield stack


def main() -> int:
    """Measures what the command line asks for; the exit status is 1 if a stream was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--model-kills", type=int, default=20)
    parser.add_argument("--triton-kills", type=int, default=10)
    arguments = parser.parse_args()
    kills = {MODEL: arguments.model_kills, TRITON: arguments.triton_kills}
    with supervised_stack() as stack:
        sound = asyncio.run(measure(stack, {what: times for what, times in kills.items() if times}))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
