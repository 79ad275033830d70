"""Checks whether Triton's models work, and decides what to do if not.

Triton's own readiness is not enough: 2.51 still reports a model as ready whose process is dead, and
2.73 reports it differently for each model. So every model gets a request, and an idle one generates
a token. A busy model need not: its progress is proof enough, and a token would queue behind users.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from launcher.engine_work import STUCK_SECONDS, ProgressWatch, parse_description
from launcher.triton_calls import CallError, TritonCalls
from triton_models.contract.tensors import MODELS, PERSONA, STEERED_QWEN
from triton_models.grpc_failures import FailureKind


class Health(Enum):
    """What a check says about the models."""

    WELL = "well"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    NOT_LOADED = "not loaded"
    STUCK = "stuck"
    ENDED = "ended"
    """An engine's thread has ended, so that its process refuses everything."""
    FAILING = "failing"
    DEAD = "dead"


HEALTHY = frozenset({Health.WELL, Health.BUSY})


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The outcome of one check.

    Attributes:
        model: The model of the ensemble that is at fault.
        began: When the check began, in the clock's seconds.
    """

    health: Health
    reason: str = ""
    model: str = STEERED_QWEN
    began: float = 0.0


class Remedy(Enum):
    """What to do about a failure."""

    NOTHING = "nothing"
    RELOAD = "reload"
    """Unload and load the model at fault."""
    RESTART = "restart"
    """Restart Triton."""


_REMEDIES: dict[Health, tuple[int, Remedy]] = {
    # Triton declares a process dead after a second of silence, which is wrong at times on an
    # overloaded machine.
    Health.DEAD: (2, Remedy.RELOAD),
    Health.FAILING: (3, Remedy.RELOAD),
    Health.STUCK: (1, Remedy.RELOAD),
    # It cannot recover, and of several engines the next to answer may be another.
    Health.ENDED: (1, Remedy.RELOAD),
    # 2.73 may say this of a dead process as well.
    Health.NOT_LOADED: (3, Remedy.RELOAD),
    # About 20 seconds: its process runs, but its port does not answer.
    Health.UNREACHABLE: (100, Remedy.RESTART),
}
"""After how many checks in a row with the same outcome to act, and how."""

_BROKEN = frozenset({Health.DEAD, Health.FAILING})
"""How a dead process appears: once Triton has declared it dead, later silence confirms that."""


class FailureTracker:
    """Counts failed checks in a row and decides on a remedy."""

    def __init__(self) -> None:
        self._health = Health.WELL
        self._times = 0

    @property
    def is_failing(self) -> bool:
        """Whether the last check failed, so that the next one should be soon."""
        return self._health not in HEALTHY

    def decide(self, health: Health) -> Remedy:
        """Returns what to do after one more check; a remedy restarts the count."""
        if {health, self._health} <= _BROKEN:
            if self._health is Health.DEAD:
                health = Health.DEAD
            self._times += 1
        else:
            self._times = self._times + 1 if health is self._health else 1
        self._health = health
        times, remedy = _REMEDIES.get(health, (0, Remedy.NOTHING))
        if remedy is Remedy.NOTHING or self._times < times:
            return Remedy.NOTHING
        self._times = 0
        return remedy


_ENGINES_REPLACED = frozenset({Health.STUCK, Health.ENDED, Health.NOT_LOADED, Health.UNREACHABLE})
"""After these there are other engines, in whose name the metrics of the old ones may linger."""


class HealthChecker:
    """Checks one Triton's models, from one thread.

    An idle model generates a token every `probe_seconds`; 0 is once, and after each failure.
    """

    def __init__(
        self, calls: TritonCalls, probe_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._proved_at: float | None = None
        self._progress = ProgressWatch()
        self._pieces = -1

    def check(self) -> HealthReport:
        """Checks each model, then the ensemble if it is idle: a dead model can make that hang."""
        began = self._clock()
        engine: dict[str, Any] | None = None
        try:
            engine = self._calls.describe()["engine"]
            report = self._check_parts(engine)
        except CallError as error:
            report = report_of(error)
            if error.failure.kind is FailureKind.LATE and self._sends():
                report = replace(report, health=Health.BUSY)
        if report.health in HEALTHY and (stuck := self._find_stuck(engine)):
            reason = f"nothing was computed in {STUCK_SECONDS:g} s by {', '.join(stuck)}"
            report = HealthReport(Health.STUCK, reason)
        if report.health not in HEALTHY:
            self._proved_at = None  # the next success has to prove itself by a token
        if report.health in _ENGINES_REPLACED:
            self._progress.forget()
        return replace(report, began=began)

    def _check_parts(self, engine: dict[str, Any]) -> HealthReport:
        if not engine.get("alive", True):
            return HealthReport(Health.ENDED, "the engine's thread is gone")
        self._calls.check_steps()
        if not engine.get("running") and not engine.get("waiting"):
            self._prove()
        return HealthReport(Health.BUSY if engine.get("waiting") else Health.WELL)

    def _find_stuck(self, engine: dict[str, Any] | None) -> list[str]:
        """Returns the names of stuck engines, whatever the others do meanwhile.

        Of several engines only the metrics say which is which. A single one, or any if the metrics
        cannot be read, is judged by its description, which needs no thread that copies it.
        """
        try:
            engines = self._calls.read_engines()
        except OSError:
            engines = {}
        if len(engines) < 2:
            if engine is None:
                return []
            engines = {"the engine": parse_description(engine)}
        return self._progress.stuck(engines, self._clock())

    def _prove(self) -> None:
        now, every = self._clock(), self._probe_seconds
        if self._proved_at is None or (every and now - self._proved_at >= every):
            self._calls.generate_one_token()
            self._proved_at = now

    def _sends(self) -> bool:
        """Whether clients have received anything since the last time that a model was silent.

        Under load even a healthy model can be silent for a while.
        """
        try:
            pieces = self._calls.count_pieces()
        except CallError:
            return False
        before, self._pieces = self._pieces, pieces
        return pieces != before


_HEALTH_OF_FAILURE = {
    FailureKind.DEAD: Health.DEAD,
    FailureKind.NOT_LOADED: Health.NOT_LOADED,
    FailureKind.UNREACHABLE: Health.UNREACHABLE,
    FailureKind.FULL: Health.BUSY,
    # It refused the request with a reason, so the model works.
    FailureKind.INVALID: Health.WELL,
}


def report_of(error: CallError) -> HealthReport:
    """Returns what a failed call says about the models."""
    model = error.asked if error.asked in MODELS else STEERED_QWEN
    health = _HEALTH_OF_FAILURE.get(error.failure.kind, Health.FAILING)
    # A failure of the ensemble is attributed to the engine, unless the error names another model.
    if model == PERSONA and health is not Health.NOT_LOADED:
        model = STEERED_QWEN
    if error.failure.model in MODELS:
        model = error.failure.model
    return HealthReport(health, str(error), model)
