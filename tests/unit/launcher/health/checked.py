"""Engines that answer checks as they are told to, and what calls that fail raise."""

from __future__ import annotations

from typing import Any

from launcher.engine_work import EngineWork
from launcher.health import FailureTracker, Health, Remedy
from launcher.triton_calls import CallError
from triton_models.grpc_failures import Failure, FailureKind

WELL, BUSY, DEAD = Health.WELL, Health.BUSY, Health.DEAD
FAILING, STUCK = Health.FAILING, Health.STUCK
UNREACHABLE, NOT_LOADED = Health.UNREACHABLE, Health.NOT_LOADED

FIRST, SECOND = "steered_qwen_0_0", "steered_qwen_0_1"

IDLE = {"alive": True, "running": 0, "waiting": 0, "steps": 7}


def decisions(*healths: Health) -> list[Remedy]:
    tracker = FailureTracker()
    return [tracker.decide(health) for health in healths]


def failed(kind: FailureKind, asked: str = "", dead: str = "") -> CallError:
    return CallError(Failure(kind, dead), asked, "the reason")


class Calls:
    """A Triton that answers as it is told to."""

    def __init__(self) -> None:
        self.engine: dict[str, Any] = dict(IDLE)
        self.tokens = 0
        self.pieces = 0
        self.engines: dict[str, EngineWork] | None = None
        self.fails: dict[str, CallError] = {}

    def _answer(self, name: str) -> None:
        if name in self.fails:
            raise self.fails[name]

    def describe(self) -> dict[str, Any]:
        self._answer("engine")
        return {"engine": dict(self.engine)}

    def check_steps(self) -> None:
        self._answer("steps")

    def generate_one_token(self) -> None:
        self._answer("token")
        self.tokens += 1

    def count_pieces(self) -> int:
        self._answer("pieces")
        return self.pieces

    def read_engines(self) -> dict[str, EngineWork]:
        if self.engines is None:
            raise OSError("the metrics cannot be read")
        return dict(self.engines)


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now
