"""The supervisor repairs what a Triton of either kind has, over real gRPC."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from launcher import supervisor as supervising
from launcher.settings import StackSettings
from launcher.status import SERVING, SupervisorStatus
from launcher.supervisor import Supervisor
from launcher.triton_calls import CallError, TritonCalls
from launcher.triton_process import TritonProcess
from tests.unit.launcher.standin_triton import (
    ACCESS_KEY,
    CONTROL_KEY,
    NEW,
    OLD,
    StandInTriton,
    standin_triton,
)
from tests.unit.launcher.supervisor.rig import Server
from triton_models.contract.tensors import DETOKENIZER, PERSONA, STEERED_QWEN, TOKENIZER
from triton_models.grpc_failures import FailureKind

PATIENCE_SECONDS = 60.0


class Rig:
    """A supervisor before a stand-in."""

    def __init__(self, triton: StandInTriton, address: str) -> None:
        self.triton = triton
        self.calls = TritonCalls(address, "http://127.0.0.1:9", CONTROL_KEY, ACCESS_KEY)
        self.server, self.status = Server(), SupervisorStatus()
        settings = StackSettings(probe_seconds=0.0)
        self.supervisor = Supervisor(
            cast(TritonProcess, self.server),
            self.calls,
            self.status,
            settings,
            lambda line: None,
            threading.Event(),
        )
        self.supervisor.start(started=lambda: None)

    def tick_until(self, reached: Callable[[], bool]) -> bool:
        """Looks after the server until something is so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached() and time.monotonic() < deadline:
            self.supervisor.tick()
            time.sleep(0.001)
        return reached()


@pytest.fixture(params=[OLD, NEW])
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    for name in ("_CHECK_SECONDS", "_RETRY_CHECK_SECONDS", "_START_CHECK_SECONDS"):
        monkeypatch.setattr(supervising, name, 0.01)
    with standin_triton(request.param) as (triton, address):
        rig = Rig(triton, address)
        yield rig
        rig.supervisor.stop()
        rig.calls.close()


@pytest.mark.parametrize("model", [STEERED_QWEN, TOKENIZER, DETOKENIZER])
def test_a_model_that_the_server_calls_dead_in_its_own_way_works_again(
    rig: Rig, model: str
) -> None:
    rig.triton.dead = model
    assert rig.tick_until(lambda: not rig.triton.dead and rig.status.state in SERVING)
    assert rig.triton.done == [f"unload {model}", f"load {model}", f"load {PERSONA}"]
    assert rig.server.starts == 1


def test_what_somebody_has_unloaded_is_loaded(rig: Rig) -> None:
    rig.triton.let_go(STEERED_QWEN)
    assert rig.tick_until(lambda: bool(rig.triton.done))
    assert f"load {PERSONA}" in rig.triton.done
    assert rig.tick_until(lambda: rig.status.state in SERVING)
    rig.triton.let_go(PERSONA)
    done = len(rig.triton.done)
    rig.triton.dead = TOKENIZER  # after which the ensemble is to prove itself again
    assert rig.tick_until(lambda: not rig.triton.dead)
    assert f"load {PERSONA}" in rig.triton.done[done:]


def test_readiness_is_not_asked_and_work_is_not_queued_behind(rig: Rig) -> None:
    asked = rig.triton.asked
    assert asked.count(PERSONA) == 1  # at the start
    rig.triton.running = 3
    before = len(asked)
    assert rig.tick_until(lambda: len(asked) > before + 50)
    assert PERSONA not in asked[before:]
    assert rig.triton.done == []


def test_control_takes_the_secret(rig: Rig) -> None:
    stranger = TritonCalls(rig.calls.address, "http://127.0.0.1:9", "x" * 40, "y" * 40)
    for call in (
        lambda: stranger.unload(PERSONA),
        lambda: stranger.load(PERSONA, 5, threading.Event()),
        stranger.generate_one_token,
    ):
        with pytest.raises(CallError) as refused:
            call()
        assert refused.value.failure.kind is FailureKind.RESTRICTED
    assert rig.triton.done == []
    stranger.close()


def test_a_load_that_is_interrupted_is_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    loading = threading.Event()
    monkeypatch.setattr(
        StandInTriton, "RepositoryModelLoad", lambda *_: loading.wait(PATIENCE_SECONDS)
    )
    interrupted = threading.Event()
    interrupted.set()
    rig.calls.load(PERSONA, PATIENCE_SECONDS, interrupted)
    loading.set()
