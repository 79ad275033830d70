"""What the supervisor does when Triton or a model ends, with stand-ins for both."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from launcher import supervisor as supervising
from launcher.errors import LaunchError, LaunchInterrupted
from launcher.health import Health, HealthReport
from launcher.settings import StackSettings
from launcher.status import State, SupervisorStatus
from launcher.supervisor import CrashBudget, Supervisor
from launcher.triton_calls import CallError, TritonCalls
from launcher.triton_process import TritonProcess
from triton_models.contract.tensors import DETOKENIZER, PERSONA, STEERED_QWEN
from triton_models.grpc_failures import Failure, FailureKind


class Process:
    exit_status = -9


class Server:
    """A server that runs until it is ended."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.running = False
        self.starts = 0
        self.stops = 0
        self.dead: list[str] = []

    def start(self) -> None:
        self.process, self.running = Process(), True
        self.starts += 1
        self.dead = []

    def stop(self, patience_seconds: float = 20) -> None:
        self.running = False
        self.stops += 1

    def update_stubs(self) -> None:
        self.dead = []

    def clear_up(self) -> None:
        pass

    def dead_models(self) -> list[str]:
        return self.dead

    def failure(self) -> LaunchError:
        return LaunchError("Triton ended with status -9")


class Calls:
    """A server's control, and what is open there."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.open: list[int] = []
        self.refuses = False

    def unload(self, model: str) -> None:
        self.done.append(f"unload {model}")

    def load(self, model: str, seconds: float, interrupted: threading.Event) -> None:
        if self.refuses:
            raise CallError(Failure(FailureKind.OTHER), "", "it does not load")
        self.done.append(f"load {model}")

    def count_open(self) -> int:
        return self.open.pop(0) if self.open else 0


class HealthThread:
    """What a test says is found; between two looks it finds what it found last."""

    pause_seconds = 0.0
    report = HealthReport(Health.WELL)

    def __init__(self, checker: Any) -> None:
        pass

    def reports(self) -> list[HealthReport]:
        return [HealthReport(self.report.health, self.report.reason, self.report.model, 1e18)]

    def check_now(self) -> None:
        pass

    def end(self) -> None:
        pass


class Rig:
    """A supervisor and its stand-ins."""

    def __init__(self, budget: int = 2) -> None:
        self.server, self.calls, self.status = Server(), Calls(), SupervisorStatus()
        self.said: list[str] = []
        self.interrupted = threading.Event()
        settings = StackSettings(restart_budget=budget, exit_seconds=0.0)
        self.supervisor = Supervisor(
            cast(TritonProcess, self.server),
            cast(TritonCalls, self.calls),
            self.status,
            settings,
            self.said.append,
            self.interrupted,
        )

    def start(self) -> None:
        self.supervisor.start(started=lambda: None)

    def find(self, health: Health, model: str = STEERED_QWEN, times: int = 1) -> None:
        assert self.supervisor._health_thread
        cast(Any, self.supervisor._health_thread).report = HealthReport(health, "as found", model)
        for _ in range(times):
            self.supervisor.tick()


def reload_of(model: str) -> list[str]:
    return [f"unload {model}", f"load {model}", f"load {PERSONA}"]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(supervising, "HealthThread", HealthThread)
    monkeypatch.setattr(supervising, "_DRAIN_POLL_SECONDS", 0.0)
    monkeypatch.setattr(supervising, "_MAX_BACKOFF_SECONDS", 0.0)
    rig = Rig()
    rig.start()
    return rig


def test_it_serves_once_a_look_says_so(rig: Rig) -> None:
    assert rig.status.state is State.READY
    assert rig.server.starts == 1


def test_a_process_that_ends_is_replaced_at_once_and_by_name(rig: Rig) -> None:
    rig.server.dead = [DETOKENIZER]
    rig.supervisor.tick()
    assert rig.calls.done == reload_of(DETOKENIZER)
    assert rig.status.snapshot().state == "reloading"
    assert rig.status.snapshot().reason == "detokenizer: its process has ended"
    rig.supervisor.tick()
    assert rig.status.snapshot().state == "ready"
    assert rig.status.snapshot().reloads == 1


def test_what_was_asked_before_a_repair_counts_for_nothing(rig: Rig) -> None:
    rig.server.dead = [STEERED_QWEN]
    rig.supervisor.tick()
    old = HealthReport(Health.WELL, began=0.0)
    assert rig.supervisor._health_thread
    cast(Any, rig.supervisor._health_thread).reports = lambda: [old]
    rig.supervisor.tick()
    assert rig.status.state is State.RELOADING


def test_what_only_looks_dead_is_reloaded_after_a_second_look(rig: Rig) -> None:
    rig.find(Health.DEAD)
    assert rig.calls.done == []
    assert rig.status.state is State.READY
    rig.find(Health.DEAD)
    assert rig.calls.done == reload_of(STEERED_QWEN)


def test_a_model_that_dies_while_it_is_loaded_again_is_loaded_once_more(rig: Rig) -> None:
    rig.find(Health.DEAD, times=2)
    rig.find(Health.DEAD, times=2)
    assert rig.calls.done == reload_of(STEERED_QWEN) * 2


def test_a_model_that_reloading_does_not_help_costs_the_server_and_at_last_all(rig: Rig) -> None:
    rig.find(Health.DEAD, times=4)
    assert (rig.server.starts, rig.status.snapshot().reloads) == (1, 2)
    rig.find(Health.DEAD, times=2)
    assert (rig.server.starts, rig.status.state) == (2, State.RESTARTING)
    assert any("reloading does not help steered_qwen" in line for line in rig.said)
    with pytest.raises(LaunchError, match="RESTART_BUDGET"):
        rig.find(Health.DEAD, times=20)
    assert rig.status.state is State.FAILED


def test_models_that_die_again_and_again_use_up_a_budget_though_they_serve_between(
    rig: Rig,
) -> None:
    for reloads in (1, 2):
        rig.find(Health.DEAD, times=2)
        rig.find(Health.WELL)
        assert (rig.server.starts, rig.status.snapshot().reloads) == (1, reloads)
    rig.find(Health.DEAD, times=2)
    assert (rig.server.starts, rig.status.snapshot().restarts) == (2, 1)


def test_what_somebody_has_unloaded_is_loaded(rig: Rig) -> None:
    rig.find(Health.NOT_LOADED, PERSONA, times=3)
    assert rig.calls.done == [f"load {PERSONA}"]
    rig.find(Health.WELL)
    rig.find(Health.NOT_LOADED, STEERED_QWEN, times=3)
    assert rig.calls.done[1:] == reload_of(STEERED_QWEN)


def test_a_model_that_does_not_load_costs_the_server(rig: Rig) -> None:
    rig.calls.refuses = True
    rig.find(Health.DEAD, times=2)
    assert (rig.server.starts, rig.status.state) == (2, State.RESTARTING)
    assert any("cannot be loaded again: it does not load" in line for line in rig.said)


def test_a_server_that_ends_is_started_again_as_often_as_the_budget_allows(rig: Rig) -> None:
    for starts in (2, 3):
        rig.server.running = False
        rig.supervisor.tick()
        assert (rig.server.starts, rig.status.state) == (starts, State.RESTARTING)
        rig.find(Health.WELL)
        assert rig.status.state is State.READY
    rig.server.running = False
    with pytest.raises(LaunchError, match="started again 2 times in 10 minutes, RESTART_BUDGET"):
        rig.supervisor.tick()
    assert rig.status.state is State.FAILED
    assert rig.server.starts == 3


def test_a_starting_server_is_given_its_time(rig: Rig) -> None:
    rig.server.running = False
    rig.supervisor.tick()
    rig.find(Health.UNREACHABLE, times=1000)
    rig.find(Health.NOT_LOADED, times=1000)
    assert rig.server.starts == 2
    assert rig.calls.done == []


def test_load_restarts_nothing_and_unreadies_nobody(rig: Rig) -> None:
    rig.find(Health.BUSY, times=1000)
    assert rig.status.state is State.BUSY
    assert (rig.server.starts, rig.calls.done) == (1, [])


def test_a_start_is_given_up_when_the_server_ends_or_the_user_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervising, "HealthThread", HealthThread)
    monkeypatch.setattr(HealthThread, "report", HealthReport(Health.UNREACHABLE))
    interrupted = Rig()
    interrupted.interrupted.set()
    with pytest.raises(LaunchInterrupted):
        interrupted.start()
    ending = Rig()
    monkeypatch.setattr(Server, "start", lambda self: None)
    with pytest.raises(LaunchError, match="ended with status -9"):
        ending.start()


@pytest.mark.parametrize("health", [Health.UNREACHABLE, Health.DEAD])
def test_a_start_is_given_up_after_its_time_whatever_is_tried(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "HealthThread", HealthThread)
    monkeypatch.setattr(HealthThread, "report", HealthReport(health, "as found", STEERED_QWEN))
    starting = Rig()
    starting.supervisor._settings = StackSettings(start_seconds=0.0)
    with pytest.raises(LaunchError, match=r"not ready after 0 seconds .START_SECONDS.*as found"):
        starting.start()


def test_a_drain_refuses_new_requests_and_waits_for_open_ones(rig: Rig) -> None:
    # Nobody is open for a moment: what is on its way between two steps is counted later.
    rig.calls.open = [0, 2, 0]
    monkey = StackSettings(exit_seconds=60)
    rig.supervisor._settings = monkey
    rig.supervisor.drain()
    assert rig.status.state is State.DRAINING
    assert rig.calls.done == [f"unload {PERSONA}"]
    assert rig.calls.open == []
    assert rig.said[-1].startswith("Triton serves")


def test_a_drain_that_takes_too_long_says_who_is_left(rig: Rig) -> None:
    rig.calls.open = [3]
    rig.supervisor.drain()
    assert rig.said[-1] == "warning: 3 requests did not end within 0 s (TRITON_EXIT_SECONDS)"


def test_nobody_waits_for_the_answers_of_a_dead_model(rig: Rig) -> None:
    rig.server.dead = [STEERED_QWEN]
    rig.supervisor.drain()
    assert rig.calls.done == []


def test_a_budget_is_for_ten_minutes() -> None:
    now = 0.0
    budget = CrashBudget(2, lambda: now)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    now = 599.0
    assert not budget.spend()
    now = 601.0
    assert budget.spend()


def test_looking_goes_on_whatever_a_look_runs_into() -> None:
    class HealthChecker:
        looks = 0

        def check(self) -> HealthReport:
            self.looks += 1
            if self.looks == 1:
                raise RuntimeError("no such thing")
            return HealthReport(Health.WELL)

    health_thread = supervising.HealthThread(cast(Any, HealthChecker()))
    health_thread.pause_seconds = 0.0
    found: list[HealthReport] = []
    while len(found) < 2:
        found += health_thread.reports()
        health_thread.check_now()
    health_thread.end()
    assert [each.health for each in found[:2]] == [Health.FAILING, Health.WELL]
    assert "no such thing" in found[0].reason
