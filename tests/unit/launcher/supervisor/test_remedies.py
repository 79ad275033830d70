"""What the supervisor does when Triton or a model ends."""

from __future__ import annotations

from typing import Any, cast

import pytest

from launcher.errors import LaunchError
from launcher.health import Health, HealthReport
from launcher.status import State
from launcher.supervisor import CrashBudget
from tests.unit.launcher.supervisor.rig import Rig, reload_of
from triton_models.contract.tensors import DETOKENIZER, PERSONA, STEERED_QWEN


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


def test_a_budget_is_for_ten_minutes() -> None:
    now = 0.0
    budget = CrashBudget(2, lambda: now)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    now = 599.0
    assert not budget.spend()
    now = 601.0
    assert budget.spend()
