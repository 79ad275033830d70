"""Starts that are given up, and drains that wait for open requests."""

from __future__ import annotations

import pytest

from launcher import supervisor as supervising
from launcher.errors import LaunchError, LaunchInterrupted
from launcher.health import Health, HealthReport
from launcher.settings import StackSettings
from launcher.status import State
from tests.unit.launcher.supervisor.rig import HealthThread, Rig, Server
from triton_models.contract.tensors import PERSONA, STEERED_QWEN


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
    starting.supervisor._settings = StackSettings().model_copy(update={"start_seconds": 0.0})
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
