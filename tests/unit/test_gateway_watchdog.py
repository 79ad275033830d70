"""The watchdog acts on certainty: soon on a dead process, late on doubt, never on mere load."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.watchdog import Condition, Policy, Remedy, finding_of
from triton_models.tensors import PERSONA, STEERED_QWEN, TOKENIZER

WELL, BUSY, DEAD = Condition.WELL, Condition.BUSY, Condition.DEAD
FAILING, STUCK = Condition.FAILING, Condition.STUCK
UNREACHABLE, NOT_LOADED = Condition.UNREACHABLE, Condition.NOT_LOADED


def decisions(*conditions: Condition) -> list[Remedy]:
    policy = Policy()
    return [policy.decide(condition) for condition in conditions]


def test_a_dead_model_is_looked_at_again_before_it_is_reloaded() -> None:
    assert decisions(DEAD, DEAD) == [Remedy.NOTHING, Remedy.RELOAD]


def test_silence_after_death_confirms_it() -> None:
    assert decisions(DEAD, FAILING)[-1] is Remedy.RELOAD
    assert decisions(FAILING, DEAD)[-1] is Remedy.RELOAD


def test_failures_alone_must_be_three() -> None:
    assert decisions(FAILING, FAILING, FAILING) == [Remedy.NOTHING] * 2 + [Remedy.RELOAD]


@pytest.mark.parametrize("between", [WELL, BUSY, NOT_LOADED])
def test_a_model_that_another_gateway_is_reloading_is_left_alone(between: Condition) -> None:
    assert set(decisions(DEAD, between, DEAD)) == {Remedy.NOTHING}


@pytest.mark.parametrize("condition", [WELL, BUSY, UNREACHABLE])
def test_nothing_is_done_about_health_load_and_a_server_that_is_away(condition: Condition) -> None:
    assert set(decisions(*[condition] * 100)) == {Remedy.NOTHING}


def test_a_model_that_nobody_loads_is_loaded_in_the_end() -> None:
    made = decisions(*[NOT_LOADED] * 60)
    assert made[-1] is Remedy.LOAD
    assert set(made[:-1]) == {Remedy.NOTHING}


def test_an_engine_that_makes_no_tokens_gets_the_benefit_of_the_doubt() -> None:
    made = decisions(*[STUCK] * 15)
    assert made[-1] is Remedy.RELOAD
    assert set(made[:-1]) == {Remedy.NOTHING}


def test_a_remedy_starts_the_count_anew() -> None:
    assert decisions(DEAD, DEAD, DEAD)[-1] is Remedy.NOTHING


@pytest.mark.parametrize(
    ("condition", "soon"), [(WELL, False), (UNREACHABLE, False), (BUSY, True), (DEAD, True)]
)
def test_the_next_look_comes_soon_when_something_is_wrong(condition: Condition, soon: bool) -> None:
    policy = Policy()
    policy.decide(condition)
    assert policy.suspicious is soon


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (errors.ModelDeadError(TOKENIZER), DEAD),
        (errors.ModelNotLoadedError(""), NOT_LOADED),
        (errors.UnreachableError(""), UNREACHABLE),
        (errors.OverloadedError(""), BUSY),
        (errors.InvalidRequestError(""), WELL),
        (errors.UnavailableError("the engine has ended"), FAILING),
        (errors.GatewayError(""), FAILING),
    ],
)
def test_errors_are_told_apart(error: errors.GatewayError, condition: Condition) -> None:
    assert finding_of(error, PERSONA).condition is condition


def test_the_dead_step_is_to_blame_whoever_reports_it() -> None:
    assert finding_of(errors.ModelDeadError(TOKENIZER), PERSONA).model == TOKENIZER
    assert finding_of(errors.GatewayError(""), TOKENIZER).model == TOKENIZER
    assert finding_of(errors.GatewayError(""), PERSONA).model == STEERED_QWEN


def test_silence_of_the_ensemble_whose_parts_answer_is_doubtful() -> None:
    assert finding_of(errors.DeadlineError(""), PERSONA).condition is STUCK
    assert finding_of(errors.DeadlineError(""), STEERED_QWEN).condition is FAILING
