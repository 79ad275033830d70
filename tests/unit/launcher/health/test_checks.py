"""What a check finds of one engine: load is no trouble, standing still is."""

from __future__ import annotations

from typing import cast

import pytest

from launcher.engine_work import STUCK_SECONDS, EngineWork
from launcher.health import FailureTracker, HealthChecker, Remedy
from launcher.triton_calls import TritonCalls
from tests.unit.launcher.health.checked import (
    BUSY,
    DEAD,
    FAILING,
    FIRST,
    STUCK,
    WELL,
    Calls,
    Clock,
    failed,
)
from triton_models.contract.tensors import STEERED_QWEN, TOKENIZER
from triton_models.grpc_failures import FailureKind


def test_an_idle_model_proves_itself_now_and_then(
    calls: Calls, clock: Clock, checker: HealthChecker
) -> None:
    assert checker.check().health is WELL
    assert calls.tokens == 1
    clock.now += 4.9
    checker.check()
    assert calls.tokens == 1
    clock.now += 0.2
    checker.check()
    assert calls.tokens == 2


def test_a_model_that_is_to_prove_itself_once_does_so_again_after_trouble(
    calls: Calls, clock: Clock
) -> None:
    checker = HealthChecker(cast(TritonCalls, calls), 0.0, clock)
    for _ in range(3):
        checker.check()
        clock.now += 60
    assert calls.tokens == 1
    calls.fails["steps"] = failed(FailureKind.DEAD, TOKENIZER, TOKENIZER)
    assert checker.check().health is DEAD
    calls.fails.clear()
    checker.check()
    assert calls.tokens == 2


def test_no_token_of_ours_queues_behind_users(calls: Calls, checker: HealthChecker) -> None:
    calls.engine |= {"running": 4, "waiting": 30}
    for step in range(1000):
        calls.engine["steps"] = step
        assert checker.check().health is BUSY
    assert calls.tokens == 0


def test_ten_minutes_of_a_full_queue_are_load_and_no_trouble(
    calls: Calls, clock: Clock, checker: HealthChecker
) -> None:
    tracker = FailureTracker()
    calls.engine |= {"running": 4, "waiting": 256}
    for step in range(600):
        calls.engine["steps"] = step // 60  # a token a minute
        clock.now += 1
        assert tracker.decide(checker.check().health) is Remedy.NOTHING


def test_an_engine_with_work_that_computes_nothing_is_stuck_after_a_while(
    calls: Calls, clock: Clock, checker: HealthChecker
) -> None:
    calls.engine["running"] = 1
    assert checker.check().health is WELL
    clock.now += STUCK_SECONDS - 1
    assert checker.check().health is WELL
    clock.now += 2
    report = checker.check()
    assert (report.health, report.model) == (STUCK, STEERED_QWEN)


def test_a_single_engine_is_judged_by_what_it_says_itself(
    calls: Calls, clock: Clock, checker: HealthChecker
) -> None:
    calls.engine |= {"running": 1, "steps": 0}
    calls.engines = {FIRST: EngineWork(num_open=1, progress=0)}
    for _ in range(10):
        calls.engine["steps"] += 1  # unlike the metrics, whose thread may have failed
        clock.now += STUCK_SECONDS + 1
        assert checker.check().health is WELL
    clock.now += STUCK_SECONDS + 1
    assert checker.check().health is STUCK


@pytest.mark.parametrize("part", ["engine", "steps", "token"])
def test_silence_while_clients_get_answers_is_load(
    part: str, calls: Calls, checker: HealthChecker
) -> None:
    calls.fails[part] = failed(FailureKind.LATE, STEERED_QWEN)
    for _ in range(10):
        calls.pieces += 1
        assert checker.check().health is BUSY
    checker.check()
    assert checker.check().health is FAILING
    calls.fails["pieces"] = failed(FailureKind.UNREACHABLE)
    assert checker.check().health is FAILING
