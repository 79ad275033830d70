"""What checks find of two engines in one Triton, which are asked in turns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.engine_work import STUCK_SECONDS, EngineWork
from launcher.health import Health, HealthChecker
from tests.unit.launcher.health.checked import (
    BUSY,
    FIRST,
    SECOND,
    STUCK,
    WELL,
    Calls,
    Clock,
    failed,
)
from triton_models.contract.tensors import STEERED_QWEN
from triton_models.grpc_failures import FailureKind


class Pair:
    """Two engines in one Triton, which are asked in turns."""

    def __init__(self, calls: Calls, clock: Clock, checker: HealthChecker) -> None:
        self.calls, self.clock, self.checker = calls, clock, checker
        calls.engines = self.engines = {FIRST: EngineWork(), SECOND: EngineWork()}

    def at_work(self, *names: str) -> None:
        """Gives some of the engines a request."""
        for name in names:
            self.engines[name] = replace(self.engines[name], num_open=1)

    def looks(self, *moving: str) -> list[Health]:
        """Checks every second for a little longer than an engine may stand still.

        Args:
            moving: The engines that make a step each second.
        """
        healths = []
        for second in range(int(STUCK_SECONDS) + 2):
            for name in moving:
                work = self.engines[name]
                self.engines[name] = replace(work, progress=work.progress + 1)
            work = self.engines[(FIRST, SECOND)[second % 2]]
            self.calls.engine |= {"running": work.num_open, "steps": work.progress}
            healths.append(self.checker.check().health)
            self.clock.now += 1
        return healths


@pytest.fixture
def pair(calls: Calls, clock: Clock, checker: HealthChecker) -> Pair:
    return Pair(calls, clock, checker)


@pytest.mark.parametrize("other_works", [True, False])
def test_a_stuck_engine_is_found_beside_one_that_works_or_idles(
    other_works: bool, pair: Pair
) -> None:
    pair.at_work(SECOND, *[FIRST] * other_works)
    *before, last = pair.looks(*[FIRST] * other_works)
    assert set(before) == {WELL}
    assert last is STUCK
    assert pair.checker.check().health is WELL  # what replaces it gets as long


def test_the_log_says_which_engine_is_stuck(pair: Pair) -> None:
    pair.at_work(SECOND)
    pair.checker.check()
    pair.clock.now += STUCK_SECONDS + 1
    assert pair.checker.check().reason == f"nothing was computed in 120 s by {SECOND}"


def test_answers_of_one_engine_are_no_sign_of_life_of_the_other(pair: Pair) -> None:
    pair.at_work(FIRST, SECOND)
    pair.calls.fails["engine"] = failed(FailureKind.LATE, STEERED_QWEN)
    healths = []
    for _ in range(int(STUCK_SECONDS) + 2):
        pair.calls.pieces += 1
        pair.engines[FIRST] = EngineWork(num_open=1, progress=pair.calls.pieces)
        healths.append(pair.checker.check().health)
        pair.clock.now += 1
    assert set(healths[:-1]) == {BUSY}
    assert healths[-1] is STUCK


@pytest.mark.parametrize("busy", [(FIRST, SECOND), (FIRST,), ()])
def test_engines_that_work_or_idle_are_well(busy: tuple[str, ...], pair: Pair) -> None:
    pair.at_work(*busy)
    assert set(pair.looks(*busy)) == {WELL}


def test_time_without_work_is_not_held_against_an_engine(pair: Pair) -> None:
    pair.looks()
    pair.at_work(SECOND)
    assert pair.looks().index(STUCK) == int(STUCK_SECONDS)


@pytest.mark.parametrize("kind", [FailureKind.NOT_LOADED, FailureKind.UNREACHABLE])
def test_metrics_of_an_engine_that_was_replaced_are_not_held_against_the_new_one(
    kind: FailureKind, pair: Pair
) -> None:
    pair.at_work(SECOND)
    assert pair.checker.check().health is WELL
    pair.calls.fails["engine"] = failed(kind, STEERED_QWEN)
    pair.checker.check()
    pair.calls.fails.clear()
    pair.clock.now += STUCK_SECONDS + 1  # a large model takes long to load
    assert pair.checker.check().health is WELL


def test_time_without_metrics_is_not_held_against_an_engine(pair: Pair) -> None:
    pair.checker.check()
    pair.calls.engines = None
    pair.looks()
    pair.calls.engines = pair.engines
    pair.at_work(SECOND)
    assert pair.checker.check().health is WELL
