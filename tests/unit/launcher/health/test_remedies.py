"""What follows from what checks find: soon on death, late on doubt, nothing on load."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from launcher.health import FailureTracker, Health, HealthChecker, Remedy, report_of
from launcher.triton_calls import CallError
from tests.unit.launcher.health.checked import (
    BUSY,
    DEAD,
    FAILING,
    NOT_LOADED,
    UNREACHABLE,
    WELL,
    Calls,
    decisions,
    failed,
)
from triton_models.contract.tensors import DETOKENIZER, PERSONA, STEERED_QWEN, TOKENIZER
from triton_models.grpc_failures import FailureKind


def test_a_dead_model_is_looked_at_again_before_it_is_reloaded() -> None:
    assert decisions(DEAD, DEAD) == [Remedy.NOTHING, Remedy.RELOAD]


def test_silence_after_death_confirms_it() -> None:
    assert decisions(DEAD, FAILING)[-1] is Remedy.RELOAD
    assert decisions(FAILING, DEAD)[-1] is Remedy.RELOAD


def test_failures_alone_must_be_three() -> None:
    assert decisions(FAILING, FAILING, FAILING) == [Remedy.NOTHING] * 2 + [Remedy.RELOAD]


@pytest.mark.parametrize("between", [WELL, BUSY])
def test_a_success_in_between_ends_the_doubt(between: Health) -> None:
    assert set(decisions(DEAD, between, DEAD)) == {Remedy.NOTHING}


@pytest.mark.parametrize("health", [WELL, BUSY])
def test_nothing_is_done_about_health_and_load(health: Health) -> None:
    assert set(decisions(*[health] * 1000)) == {Remedy.NOTHING}


def test_a_model_that_somebody_has_unloaded_is_loaded_again() -> None:
    assert decisions(*[NOT_LOADED] * 3)[-1] is Remedy.RELOAD


def test_a_server_that_runs_and_does_not_answer_is_started_again_in_the_end() -> None:
    made = decisions(*[UNREACHABLE] * 100)
    assert made[-1] is Remedy.RESTART
    assert set(made[:-1]) == {Remedy.NOTHING}


def test_a_remedy_starts_the_count_anew() -> None:
    assert decisions(DEAD, DEAD, DEAD)[-1] is Remedy.NOTHING


@pytest.mark.parametrize(
    ("kind", "health"),
    [
        (FailureKind.DEAD, DEAD),
        (FailureKind.NOT_LOADED, NOT_LOADED),
        (FailureKind.UNREACHABLE, UNREACHABLE),
        (FailureKind.FULL, BUSY),
        (FailureKind.INVALID, WELL),
        (FailureKind.LATE, FAILING),
        (FailureKind.OTHER, FAILING),
        (FailureKind.RESTRICTED, FAILING),
    ],
)
def test_failures_are_told_apart(kind: FailureKind, health: Health) -> None:
    assert report_of(failed(kind, PERSONA)).health is health


def test_the_dead_step_is_to_blame_whoever_reports_it() -> None:
    assert report_of(failed(FailureKind.DEAD, PERSONA, TOKENIZER)).model == TOKENIZER
    assert report_of(failed(FailureKind.OTHER, DETOKENIZER)).model == DETOKENIZER
    assert report_of(failed(FailureKind.OTHER, PERSONA)).model == STEERED_QWEN
    assert report_of(failed(FailureKind.NOT_LOADED, PERSONA)).model == PERSONA


def test_an_engine_that_has_ended_is_replaced_though_another_may_answer_next(
    calls: Calls, checker: HealthChecker
) -> None:
    calls.engine["alive"] = False
    assert decisions(checker.check().health) == [Remedy.RELOAD]


# How a server says that the model's process is gone: 2.51 in the answer to every request, while
# readiness goes on; 2.73 by readiness too, and by not being found.
DEAD_ANSWERS: list[Callable[[], CallError]] = [
    lambda: failed(FailureKind.DEAD, STEERED_QWEN, STEERED_QWEN),
    lambda: failed(FailureKind.LATE, STEERED_QWEN),
    lambda: failed(FailureKind.OTHER, STEERED_QWEN),
    lambda: failed(FailureKind.NOT_LOADED, STEERED_QWEN),
]


@pytest.mark.parametrize("answer", DEAD_ANSWERS)
def test_whatever_a_server_with_a_dead_model_answers_the_model_is_loaded_again(
    answer: Callable[[], CallError], calls: Calls, checker: HealthChecker
) -> None:
    tracker = FailureTracker()
    checker.check()
    calls.fails["engine"] = answer()
    remedies = [tracker.decide(checker.check().health) for _ in range(5)]
    assert Remedy.RELOAD in remedies
