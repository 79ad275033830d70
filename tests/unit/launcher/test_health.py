"""What a check finds, and what follows: soon on death, late on doubt, nothing on load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from launcher.engine_work import STUCK_SECONDS, EngineWork
from launcher.health import FailureTracker, Health, HealthChecker, Remedy, report_of
from launcher.triton_calls import CallError, TritonCalls
from triton_models.contract.tensors import DETOKENIZER, PERSONA, STEERED_QWEN, TOKENIZER
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

    def describe_engine(self) -> dict[str, Any]:
        self._answer("engine")
        return dict(self.engine)

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


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checker(calls: Calls, clock: Clock) -> HealthChecker:
    return HealthChecker(cast(TritonCalls, calls), 5.0, clock)


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


def test_an_engine_that_has_ended_is_replaced_though_another_may_answer_next(
    calls: Calls, checker: HealthChecker
) -> None:
    calls.engine["alive"] = False
    assert decisions(checker.check().health) == [Remedy.RELOAD]


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
