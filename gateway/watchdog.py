"""Brings a dead model back.

When the Python process behind a model dies, Triton fails every request and goes on saying that it
is ready. So the watchdog generates a token every few seconds, and reloads the model when that shows
it to be dead. Several gateways may each run one: each looks again before it acts, and a model that
another one is reloading shows as not loaded, which is waited for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from gateway.endpoint import Endpoint
from gateway.errors import (
    NOT_LOADED_MESSAGE,
    UNREACHABLE_MESSAGE,
    ControlRefusedError,
    DeadlineError,
    GatewayError,
    InvalidRequestError,
    ModelDeadError,
    ModelNotLoadedError,
    OverloadedError,
    UnreachableError,
)
from gateway.model_health import STEPS, ModelHealth
from gateway.observability.metrics import GatewayMetrics
from gateway.settings import Settings
from triton_models.tensors import MODELS, PERSONA, STEERED_QWEN

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_PROBE_TIMEOUT = 2.0
_SPREAD = 0.3
_REFUSED_PAUSE = 60.0
"""How long to leave a Triton alone that refuses to be controlled: it may be replaced by another."""


class Condition(Enum):
    """What a probe says about the model."""

    WELL = "well"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    NOT_LOADED = "not loaded"
    STUCK = "stuck"
    FAILING = "failing"
    DEAD = "dead"


class Remedy(Enum):
    """What to do about it."""

    NOTHING = "nothing"
    LOAD = "load"
    RELOAD = "reload"


_REMEDIES: dict[Condition, tuple[int, Remedy]] = {
    Condition.DEAD: (2, Remedy.RELOAD),
    Condition.FAILING: (3, Remedy.RELOAD),
    # All parts answer, and a long prompt on a slow machine makes no token for a while either.
    Condition.STUCK: (15, Remedy.RELOAD),
    # Long enough for whoever is loading it; then nobody is.
    Condition.NOT_LOADED: (60, Remedy.LOAD),
}
"""After how many probes in a row with the same outcome to act, and how."""

_BROKEN = frozenset({Condition.DEAD, Condition.FAILING})
"""How a dead process shows: once Triton has called it dead, later silence confirms that."""

_AT_WORK = frozenset({Condition.WELL, Condition.BUSY})

_PATIENT = (Condition.WELL, Condition.UNREACHABLE, Condition.NOT_LOADED)
"""What only waiting can change, if anything must change at all."""


class Policy:
    """Decides from the outcomes of successive probes."""

    def __init__(self) -> None:
        self._condition = Condition.WELL
        self._times = 0

    @property
    def suspicious(self) -> bool:
        """Whether the last probe was no success, so that the next should come soon."""
        return self._condition not in _PATIENT

    def decide(self, condition: Condition) -> Remedy:
        """Returns what to do after one more probe; a remedy starts the count anew."""
        if {condition, self._condition} <= _BROKEN:
            if self._condition is Condition.DEAD:
                condition = Condition.DEAD
            self._times += 1
        else:
            self._times = self._times + 1 if condition is self._condition else 1
        self._condition = condition
        times, remedy = _REMEDIES.get(condition, (0, Remedy.NOTHING))
        if remedy is Remedy.NOTHING or self._times < times:
            return Remedy.NOTHING
        self._times = 0
        return remedy


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one probe.

    Attributes:
        condition: What it says about the model.
        reason: Why, for the log.
        model: Which step of the ensemble is to blame.
    """

    condition: Condition
    reason: str = ""
    model: str = STEERED_QWEN


class Watchdog:
    """Probes the model of one server for ever, and repairs it.

    Args:
        endpoint: The server.
        settings: The configuration.
        metrics: What counts repairs.
        noted: Called after each look.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        metrics: GatewayMetrics,
        noted: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._metrics = metrics
        self._noted = noted
        self._health = ModelHealth(endpoint, settings.triton_control_key.get_secret_value())
        self._refused_at: float | None = None
        self._settings = settings
        self._policy = Policy()
        self._condition = Condition.WELL
        self._finding = Finding(Condition.WELL)
        self._tokens = 0
        self._output_when_silent = ("", 0)

    async def run(self) -> None:
        """Watches until it is cancelled."""
        while True:
            await self._pause()
            try:
                await self._look()
            except ControlRefusedError as error:
                if self._refused_at is None:
                    self._log(logging.ERROR, error.message, reason=error.detail)
                self._refused_at = time.monotonic()
            except GatewayError as error:
                reason = error.detail or error.message
                self._log(logging.ERROR, "the model could not be repaired", reason=reason)
            except Exception:
                _logger.exception("the watchdog stumbled")

    async def _pause(self) -> None:
        """Waits until the next look, which a request that has failed brings forward."""
        if self._policy.suspicious:
            # Different for each gateway, so that not all of them act at once.
            await asyncio.sleep(min(self._settings.watchdog_interval, random.uniform(0.05, 0.4)))
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(
                self._endpoint.suspicion.wait(), self._settings.watchdog_interval
            )

    async def _look(self) -> None:
        # A request's failure is one of the two signs that death takes: each costs a second to get.
        reported = self._endpoint.take_suspicion()
        if reported and await self._act(self._policy.decide(Condition.DEAD), self._finding):
            return
        found = await (self._examine() if reported else self._examine_until_suspicion())
        if found is None:
            return
        finding = self._finding = found
        self._endpoint.at_work = finding.condition in _AT_WORK
        self._noted()
        if finding.condition is not self._condition:
            self._note(finding)
        # A busy one may still be failing requests, and so stays in doubt.
        if finding.condition is Condition.WELL or (
            finding.condition is Condition.BUSY and self._endpoint.refuses
        ):
            self._endpoint.accept()
        await self._act(self._policy.decide(finding.condition), finding)

    async def _act(self, remedy: Remedy, finding: Finding) -> bool:
        """Does what is to be done, and says whether there was anything."""
        if remedy is Remedy.NOTHING or self._is_refused():
            return False
        if not await self._health.is_server_ready():
            # Not even that is answered: the machine or the way there is gone.
            self._endpoint.give_up(UnreachableError(UNREACHABLE_MESSAGE, finding.reason))
            return True
        # What this gateway sees all others see at the same moment, and one of them is enough.
        await asyncio.sleep(random.uniform(0, _SPREAD))
        if remedy is Remedy.LOAD or await self._health.is_loaded(finding.model):
            await self._repair_and_count(remedy, finding.model)
        return True

    def _is_refused(self) -> bool:
        """Whether Triton has said a moment ago that this gateway has nothing to tell it."""
        return self._refused_at is not None and time.monotonic() - self._refused_at < _REFUSED_PAUSE

    def _note(self, finding: Finding) -> None:
        before, self._condition = self._condition, finding.condition
        level = logging.INFO if self._condition is Condition.WELL else logging.WARNING
        self._log(level, f"the model is {self._condition.value}", reason=finding.reason)
        if self._condition is Condition.UNREACHABLE:
            # A server that is stopping may still finish what it has.
            self._endpoint.refuse(UnreachableError(UNREACHABLE_MESSAGE, finding.reason))
        elif self._condition is Condition.DEAD:
            self._endpoint.give_up(ModelDeadError(finding.model))
        elif self._condition is Condition.NOT_LOADED:
            if before in _AT_WORK:
                # Unloaded on purpose, as before a stop: what is open may still be answered.
                self._endpoint.refuse(ModelNotLoadedError(NOT_LOADED_MESSAGE, finding.reason))
            else:
                # Another gateway was faster; what was open before will not be answered either.
                self._endpoint.give_up(ModelDeadError(finding.model))

    def _log(self, level: int, message: str, **fields: str) -> None:
        _logger.log(level, message, extra={"triton": self._endpoint.address, **fields})

    async def _repair_and_count(self, remedy: Remedy, model: str) -> None:
        succeeded = False
        try:
            await self._repair(remedy, model)
            succeeded = True
        finally:
            self._metrics.model_reloaded(PERSONA if remedy is Remedy.LOAD else model, succeeded)

    async def _repair(self, remedy: Remedy, model: str) -> None:
        timeout = self._settings.reload_timeout
        if remedy is Remedy.LOAD:
            self._log(logging.WARNING, "loading the model, which nobody else has done")
            await self._health.load(PERSONA, timeout)
        else:
            self._log(logging.WARNING, "reloading a model", model=model)
            self._endpoint.give_up(ModelDeadError(model))
            await self._health.unload(model)
            await self._health.load(model, timeout)
        self._refused_at = None
        # Triton says so, and whoever finds otherwise is sent elsewhere.
        self._endpoint.accept()
        self._log(logging.WARNING, "the model is loaded again")

    async def _examine_until_suspicion(self) -> Finding | None:
        """Examines, unless a request fails meanwhile: what was asked before a death may hang."""
        examining = asyncio.create_task(self._examine())
        suspecting = asyncio.create_task(self._endpoint.suspicion.wait())
        both = {examining, suspecting}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return examining.result() if examining.done() else None
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)

    async def _examine(self) -> Finding:
        """Asks the parts, then the whole: a dead part may leave the ensemble hanging."""
        try:
            await self._check_engine()
            for step in STEPS:
                await self._check(step, self._health.check_step(step, _PROBE_TIMEOUT))
            await self._check(PERSONA, self._health.probe(_PROBE_TIMEOUT))
            return Finding(Condition.WELL)
        except _FoundError as found:
            if found.silent and await self._has_progressed(found.silent):
                return dataclasses.replace(found.finding, condition=Condition.BUSY)
            return found.finding

    async def _check_engine(self) -> None:
        description = await self._check(STEERED_QWEN, self._endpoint.describe(_PROBE_TIMEOUT))
        engine = description.get("engine", {})
        if not engine.get("alive", True):
            raise _FoundError(Finding(Condition.FAILING, "the engine has ended"))
        self._tokens = engine.get("generated_tokens", 0)

    async def _check(self, model: str, question: Awaitable[T]) -> T:
        try:
            return await question
        except GatewayError as error:
            finding = finding_of(error, model)
            silent = model if isinstance(error, DeadlineError) else ""
            raise _FoundError(finding, silent) from error

    async def _has_progressed(self, silent: str) -> bool:
        """Whether there has been any output since the last time that this model was silent.

        Under load even a healthy model may be silent for a while. What the engine counts is the
        measure where it has answered, what reaches clients where a part has not.
        """
        try:
            count = self._tokens if silent == PERSONA else await self._health.count_chunks()
        except GatewayError:
            return False
        output = (silent, count)
        before, self._output_when_silent = self._output_when_silent, output
        return output != before


class _FoundError(Exception):
    """A check has found something; `silent` is the model that was if it was silence."""

    def __init__(self, finding: Finding, silent: str = "") -> None:
        super().__init__(finding.reason)
        self.finding = finding
        self.silent = silent


def finding_of(error: GatewayError, asked: str) -> Finding:
    """Returns what an error says about the model.

    Args:
        error: What came instead of an answer.
        asked: The model that was asked.
    """
    reason = error.detail or error.message
    # What the ensemble does wrong is the engine's doing, unless the error names another step.
    model = STEERED_QWEN if asked == PERSONA else asked
    if isinstance(error, ModelDeadError) and error.model in MODELS:
        return Finding(Condition.DEAD, reason, error.model)
    if isinstance(error, DeadlineError) and asked == PERSONA:
        return Finding(Condition.STUCK, reason, model)
    for kind, condition in _CONDITIONS:
        if isinstance(error, kind):
            return Finding(condition, reason, model)
    return Finding(Condition.FAILING, reason, model)


_CONDITIONS: tuple[tuple[type[GatewayError], Condition], ...] = (
    (ModelNotLoadedError, Condition.NOT_LOADED),
    (UnreachableError, Condition.UNREACHABLE),
    (OverloadedError, Condition.BUSY),
    # Refused with a reason: whatever is wrong with the probe, the model is there.
    (InvalidRequestError, Condition.WELL),
)
