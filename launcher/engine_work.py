"""What each engine has to do, and whether it gets on with it.

Triton has an engine for each instance of `steered_qwen`, one on each GPU, and lets any of them
answer a question. Its metrics page describes all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

STUCK_SECONDS = 120.0
"""How long a busy engine may show no progress. The longest step, a chunk of a long prompt through a
large model on a slow CPU, takes most of that."""


@dataclass(frozen=True, slots=True)
class EngineWork:
    """One engine at one moment.

    Attributes:
        num_open: Its running and waiting requests.
        progress: A number that grows with each step, and with each request that ends.
    """

    num_open: float = 0.0
    progress: float = 0.0


_OPEN = ("persona_requests_running", "persona_requests_waiting")
_PROGRESS = ("persona_steps_total", "persona_requests_total")
_METRIC = re.compile(
    rf'^({"|".join(_OPEN + _PROGRESS)})\{{.*?model_instance="([^"]*)".*\}} (\S+)', re.MULTILINE
)


def parse_metrics(page: str) -> dict[str, EngineWork]:
    """Returns the engines on Triton's metrics page, by the name of their instance."""
    engines: dict[str, EngineWork] = {}
    for metric, name, text in _METRIC.findall(page):
        work, value = engines.get(name, EngineWork()), float(text)
        if metric in _OPEN:
            engines[name] = replace(work, num_open=work.num_open + value)
        else:
            engines[name] = replace(work, progress=work.progress + value)
    return engines


def parse_description(engine: Mapping[str, Any]) -> EngineWork:
    """Returns what an engine says of itself in the part `engine` of its model's description."""
    return EngineWork(
        num_open=sum(engine.get(name, 0) for name in ("running", "waiting")),
        progress=sum(engine.get(name, 0) for name in ("steps", "finished", "cancelled", "failed")),
    )


class ProgressWatch:
    """Tells which engines have work and do not get on with it."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[EngineWork, float]] = {}

    def stuck(self, engines: Mapping[str, EngineWork], now: float) -> list[str]:
        """Returns the names of those that have done nothing for `STUCK_SECONDS`.

        Args:
            engines: All engines, by name; one that was not among them the last time is new.
            now: When they were read, in seconds of a monotonic clock.
        """
        self._seen = {name: (work, self._since(name, work, now)) for name, work in engines.items()}
        return [name for name, (_, since) in self._seen.items() if now - since > STUCK_SECONDS]

    def forget(self) -> None:
        """Takes all engines for new ones the next time."""
        self._seen.clear()

    def _since(self, name: str, work: EngineWork, now: float) -> float:
        """Returns since when an engine has done nothing, `now` if it has or need not."""
        before, since = self._seen.get(name, (None, now))
        if before is None or not work.num_open or work.progress != before.progress:
            return now
        return since
