"""The watchdog acts on certainty: soon on a dead process, late on doubt, never on mere load."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gateway import errors
from gateway.endpoint import Endpoint
from gateway.observability.metrics import GatewayMetrics
from gateway.settings import Settings
from gateway.watchdog import Condition, Policy, Remedy, Watchdog, finding_of
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


class Server:
    """A server whose model's process is dead, as requests may have reported."""

    address = "here"
    at_work = False
    refuses = False

    def __init__(self, reports: list[bool]) -> None:
        self.reports = reports
        self.suspicion = asyncio.Event()
        self.probes = 0
        self.given_up = False

    def take_suspicion(self) -> bool:
        return self.reports.pop(0) if self.reports else False

    async def describe(self, timeout: float) -> Any:
        self.probes += 1
        raise errors.ModelDeadError(STEERED_QWEN)

    def give_up(self, error: errors.GatewayError) -> None:
        self.given_up = True

    def accept(self) -> None:
        pass


class Health:
    """Triton's side of it; `loaded` is what it says of the model."""

    def __init__(self, loaded: bool) -> None:
        self.loaded = loaded
        self.done: list[str] = []

    async def is_server_ready(self) -> bool:
        return True

    async def is_loaded(self, model: str) -> bool:
        return self.loaded

    async def unload(self, model: str) -> None:
        self.done.append(f"unload {model}")

    async def load(self, model: str, timeout: float) -> None:
        self.done.append(f"load {model}")


async def looks_until_repaired(
    monkeypatch: pytest.MonkeyPatch, reports: list[bool], loaded: bool = True
) -> tuple[Server, Health]:
    server, health = Server(reports), Health(loaded)
    monkeypatch.setattr("gateway.watchdog.ModelHealth", lambda *_: health)
    monkeypatch.setattr("gateway.watchdog._SPREAD", 0)
    settings = Settings(watchdog_interval=0.01)
    watchdog = Watchdog(cast(Endpoint, server), settings, GatewayMetrics(), lambda: None)
    task = asyncio.create_task(watchdog.run())
    while not health.done and server.probes < 5:
        await asyncio.sleep(0.005)
    task.cancel()
    return server, health


@pytest.mark.parametrize(
    ("reports", "probes"), [([True], 1), ([False, True], 1), ([False, False], 2)]
)
async def test_a_failed_request_is_one_of_the_two_signs_of_death(
    reports: list[bool], probes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, health = await looks_until_repaired(monkeypatch, reports)
    assert health.done[0] == "unload steered_qwen"
    assert server.probes == probes
    assert server.given_up


async def test_a_model_that_another_gateway_has_unloaded_is_not_unloaded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, health = await looks_until_repaired(monkeypatch, [True], loaded=False)
    assert health.done == []


class Guarded(Health):
    """A Triton that asks for another key."""

    async def unload(self, model: str) -> None:
        self.done.append(f"unload {model}")
        raise errors.ControlRefusedError("UNAVAILABLE: restricted")


async def test_a_triton_that_refuses_to_be_controlled_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server, health = Server([]), Guarded(loaded=True)
    monkeypatch.setattr("gateway.watchdog.ModelHealth", lambda *_: health)
    monkeypatch.setattr("gateway.watchdog._SPREAD", 0)
    settings = Settings(watchdog_interval=0.001)
    watchdog = Watchdog(cast(Endpoint, server), settings, GatewayMetrics(), lambda: None)
    task = asyncio.create_task(watchdog.run())

    async def look(times: int) -> None:
        until = server.probes + times
        while server.probes < until:
            await asyncio.sleep(0.005)

    await look(10)
    assert health.done == ["unload steered_qwen"]
    monkeypatch.setattr("gateway.watchdog._REFUSED_PAUSE", 0.0)
    await look(10)
    task.cancel()
    assert len(health.done) > 1
    said = [each for each in caplog.messages if "set TRITON_CONTROL_KEY" in each]
    assert len(said) == 1
