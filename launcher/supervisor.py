"""Keeps one Triton serving: starts it, checks it, repairs it, drains it.

Nothing else loads or unloads its models. A process that ends is noticed at once in the process
list; one that fails or hangs is noticed by health checks (`health.py`) in a separate thread, since
a dead model can be slow to answer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from launcher.errors import LaunchError, LaunchInterrupted
from launcher.health import HEALTHY, FailureTracker, Health, HealthChecker, HealthReport, Remedy
from launcher.settings import StackSettings
from launcher.status import SERVING, State, SupervisorStatus
from launcher.triton_calls import CallError, TritonCalls
from launcher.triton_process import TritonProcess
from triton_models.contract.tensors import PERSONA

TICK_SECONDS = 0.05
_CHECK_SECONDS = 1.0
_RETRY_CHECK_SECONDS = 0.2
_START_CHECK_SECONDS = 0.1
_DRAIN_POLL_SECONDS = 0.2
_BUDGET_SECONDS = 600.0
_MAX_BACKOFF_SECONDS = 30.0
"""The longest pause before the next attempt to start a server that failed to start."""

_MAX_RELOADS = 2
"""How often a model is reloaded before Triton serves again; then Triton is restarted."""

_STARTING = (State.STARTING, State.RESTARTING)
_COMING_UP = (Health.UNREACHABLE, Health.NOT_LOADED)


class CrashBudget:
    """Limits how often something may be restarted within ten minutes."""

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._maximum = maximum
        self._clock = clock
        self._spent: deque[float] = deque()

    def spend(self) -> bool:
        """Counts one restart; false if the budget is exhausted."""
        now = self._clock()
        while self._spent and now - self._spent[0] > _BUDGET_SECONDS:
            self._spent.popleft()
        if len(self._spent) >= self._maximum:
            return False
        self._spent.append(now)
        return True


class HealthThread:
    """Runs health checks in a thread of its own, one for each call of `reports`."""

    def __init__(self, checker: HealthChecker) -> None:
        self._checker = checker
        self._reports: queue.SimpleQueue[HealthReport] = queue.SimpleQueue()
        self._ended = False
        self._wanted = threading.Event()
        self._hurry = threading.Event()
        self.pause_seconds = _CHECK_SECONDS
        """How long to wait between two checks."""
        self._thread = threading.Thread(target=self._run, name="health-checks", daemon=True)
        self._thread.start()

    def check_now(self) -> None:
        """Brings the next check forward."""
        self._hurry.set()

    def reports(self) -> list[HealthReport]:
        """Returns the reports since the last call, and requests the next check."""
        self._wanted.set()
        found = []
        while not self._reports.empty():
            found.append(self._reports.get())
        return found

    def end(self) -> None:
        """Ends the thread, and waits for a check that is under way."""
        self._ended = True
        self._wanted.set()
        self._hurry.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._ended:
            self._wanted.clear()
            self._reports.put(self._check())
            self._hurry.wait(self.pause_seconds)
            self._hurry.clear()

    def _check(self) -> HealthReport:
        began = time.monotonic()
        try:
            return self._checker.check()
        except Exception as error:  # if the thread died, the server would not be supervised
            return HealthReport(Health.FAILING, f"the health check failed: {error!r}", began=began)


class Supervisor:
    """Supervises one Triton from one thread, which calls `tick` all the time."""

    def __init__(
        self,
        server: TritonProcess,
        calls: TritonCalls,
        status: SupervisorStatus,
        settings: StackSettings,
        say: Callable[[str], None],
        interrupted: threading.Event,
    ) -> None:
        self._server = server
        self._calls = calls
        self._status = status
        self._settings = settings
        self._say = say
        self._interrupted = interrupted
        self._budget = CrashBudget(settings.restart_budget)
        self._tracker = FailureTracker()
        self._health_thread: HealthThread | None = None
        self._reload_budget = CrashBudget(settings.restart_budget)
        self._reloads = 0
        self._failed_starts = 0
        self._started_at = 0.0
        self._settled_at = 0.0

    def start(self, started: Callable[[], None]) -> None:
        """Starts Triton, and returns once it has generated a token.

        Raises:
            LaunchError: It does not start, or does not serve within `start_seconds`.
            LaunchInterrupted: `interrupted` was set.
        """
        self._launch()
        began = self._started_at
        started()
        self._health_thread = HealthThread(HealthChecker(self._calls, self._settings.probe_seconds))
        self._health_thread.pause_seconds = _START_CHECK_SECONDS
        while self._status.state not in SERVING:
            if self._interrupted.wait(TICK_SECONDS):
                raise LaunchInterrupted
            if not self._server.running:
                raise self._server.failure()
            self.tick()
            seconds = self._settings.start_seconds
            if self._status.state not in SERVING and time.monotonic() - began > seconds:
                raise LaunchError(
                    f"Triton was not ready after {seconds:.0f} seconds (START_SECONDS): "
                    f"{self._status.snapshot().reason}"
                )

    def tick(self) -> None:
        """Checks Triton once; this returns at once unless there is something to repair.

        Raises:
            LaunchError: The restart budget is exhausted.
        """
        if not self._server.running:
            assert self._server.process
            self._restart(f"Triton ended with status {self._server.process.exit_status}")
        elif dead := self._server.dead_models():
            self._reload(dead[0], "its process has ended")
        else:
            assert self._health_thread
            for report in self._health_thread.reports():
                # A check that began before the last repair says nothing about its success.
                if report.began >= self._settled_at:
                    self._consider(report)

    def drain(self) -> None:
        """Makes Triton refuse new requests, and waits up to `exit_seconds` for the open ones.

        After SIGTERM, Triton 2.51 refuses the remaining steps of an open request to the ensemble:
        its stream gets nothing more, not even an error. So the ensemble is unloaded first, which
        refuses new requests (a gateway sends them to another server) and leaves open ones alone.
        """
        if self._status.state not in SERVING:
            return
        self._status.become(State.DRAINING)
        if not self._server.running or self._server.dead_models():
            return  # open requests cannot be completed
        deadline = time.monotonic() + self._settings.exit_seconds
        try:
            self._calls.unload(PERSONA)
            # Twice, since a request on its way from the tokenizer is counted a moment later.
            idle = 0
            while idle < 2:
                idle = 0 if (count := self._calls.count_open()) else idle + 1
                if count and time.monotonic() > deadline:
                    self._say(
                        f"warning: {count} requests did not end within "
                        f"{self._settings.exit_seconds:g} s (TRITON_EXIT_SECONDS)"
                    )
                    return
                time.sleep(_DRAIN_POLL_SECONDS)
        except (CallError, OSError) as error:
            # There is nothing to wait for: the model is dead or was never loaded.
            self._say(f"warning: Triton cannot be drained: {error}")

    def stop(self) -> None:
        """Stops Triton."""
        if self._health_thread:
            self._health_thread.end()
        self._server.stop()
        self._status.become(State.STOPPED)

    def _launch(self) -> None:
        self._server.start()
        self._started_at = self._settled_at = time.monotonic()
        self._tracker = FailureTracker()
        self._reloads = 0

    def _consider(self, report: HealthReport) -> None:
        assert self._health_thread
        if self._status.state is State.STARTING:
            self._status.explain(report.reason)
        if report.health in HEALTHY:
            self._serve(report)
        elif self._status.state in _STARTING and report.health in _COMING_UP:
            self._wait_for_start(report)
            return
        remedy = self._tracker.decide(report.health)
        self._health_thread.pause_seconds = (
            _RETRY_CHECK_SECONDS if self._tracker.is_failing else _CHECK_SECONDS
        )
        if remedy is Remedy.RESTART:
            self._restart(f"Triton is {report.health.value}: {report.reason}")
        elif remedy is Remedy.RELOAD:
            self._reload(report.model, f"it is {report.health.value}: {report.reason}")

    def _serve(self, report: HealthReport) -> None:
        before = self._status.state
        state = State.BUSY if report.health is Health.BUSY else State.READY
        self._failed_starts = self._reloads = 0
        if before not in SERVING:
            seconds = time.monotonic() - self._started_at
            self._say(f"Triton serves after {seconds:.1f} s")
        self._status.become(state, report.reason)
        self._server.update_stubs()

    def _wait_for_start(self, report: HealthReport) -> None:
        """Gives a restarted server up to `start_seconds`; `start` limits the first start itself."""
        seconds = self._settings.start_seconds
        restarting = self._status.state is State.RESTARTING
        if restarting and time.monotonic() - self._started_at > seconds:
            self._restart(
                f"it was not ready after {seconds:.0f} seconds (START_SECONDS): {report.reason}"
            )

    def _reload(self, model: str, reason: str) -> None:
        assert self._health_thread
        if self._reloads >= _MAX_RELOADS or not self._reload_budget.spend():
            self._restart(f"reloading does not help {model}: {reason}")
            return
        self._reloads += 1
        self._say(f"loading {model} again: {reason}")
        self._status.become(State.RELOADING, f"{model}: {reason}")
        self._started_at = time.monotonic()
        try:
            if model != PERSONA:
                with suppress(CallError):  # it may be unloaded already
                    self._calls.unload(model)
                self._calls.load(model, self._settings.start_seconds, self._interrupted)
            # Loading a model brings the ensemble back, unless that was unloaded as well.
            self._calls.load(PERSONA, self._settings.start_seconds, self._interrupted)
        except CallError as error:
            if not self._interrupted.is_set():
                self._restart(f"{model} cannot be loaded again: {error}")
            return
        self._server.clear_up()
        self._server.update_stubs()
        self._settled_at = time.monotonic()
        self._health_thread.pause_seconds = _START_CHECK_SECONDS
        self._health_thread.check_now()

    def _restart(self, reason: str) -> None:
        assert self._health_thread
        if not self._budget.spend():
            self._status.become(State.FAILED, reason)
            raise self._given_up(reason)
        self._say(f"{reason}: starting it again")
        self._status.become(State.RESTARTING, reason)
        self._server.stop(patience_seconds=0)
        if self._failed_starts:
            self._interrupted.wait(min(2.0**self._failed_starts, _MAX_BACKOFF_SECONDS))
        self._failed_starts += 1
        self._launch()
        self._health_thread.pause_seconds = _START_CHECK_SECONDS

    def _given_up(self, reason: str) -> LaunchError:
        error = self._server.failure() if not self._server.running else LaunchError(reason)
        return LaunchError(
            f"{error}\n(started again {self._settings.restart_budget} times in "
            f"{_BUDGET_SECONDS / 60:g} minutes, RESTART_BUDGET)"
        )
