"""A model that several devices share: processes with gloo here, GPUs with NCCL elsewhere."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_model
from tests.integration.asking import GREEDY, ask
from tests.integration.reference import agree, generate_alone
from tests.integration.test_engine_against_generate import STEERINGS, deltas
from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason
from triton_models.errors import EngineUnavailableError
from triton_models.model_folder import UnsupportedModelError
from triton_models.request import GenerationRequest, Steering
from triton_models.settings import ServerSettings

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def shared_settings(tiny_model_folder: Path, tiny_vectors_folder: Path) -> ServerSettings:
    """Overlapping steps are the harder case: no host knows their tokens when they start."""
    return ServerSettings(
        model_name=str(tiny_model_folder),
        vectors=tiny_vectors_folder,
        device="cpu",
        tensor_parallel=2,
        max_batch_rows=5,
        prefill_chunk=16,
        overlap="on",
        threads=1,
    )


@pytest.fixture
def shared_engine(shared_settings: ServerSettings) -> Iterator[Engine]:
    engine = build_engine(shared_settings).engine
    engine.start()
    yield engine
    engine.stop(0)
    assert not workers()


def workers() -> list[int]:
    """Returns the processes of the other devices that this process has started."""
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "shard_worker"], capture_output=True, text=True
    )
    return [int(pid) for pid in found.stdout.split()]


def test_each_request_of_a_mixed_batch_gives_the_tokens_it_gives_alone(
    shared_engine: Engine,
) -> None:
    assert len(workers()) == 1
    model = make_model()
    generator = random.Random(1)
    cases = []
    for steering in STEERINGS:
        prompt = [generator.randrange(256) for _ in range(generator.choice([1, 7, 40]))]
        cases.append((GenerationRequest(steering, GREEDY, 12), prompt))
    answers = [ask(shared_engine, request, prompt) for request, prompt in cases]
    for (request, prompt), answer in zip(cases, answers, strict=True):
        expected = generate_alone(model, prompt, 12, deltas(request), request.steering.positions)
        got = answer.tokens()
        assert agree(model, prompt, expected, got, deltas(request), request.steering.positions)


def test_beginnings_are_reused_and_traits_read_as_on_one_device(
    shared_settings: ServerSettings, shared_engine: Engine
) -> None:
    engine = build_engine(dataclasses.replace(shared_settings, tensor_parallel=1)).engine
    engine.start()
    prompt = list(range(40, 100))
    request = GenerationRequest(
        Steering({"sarcasm": 0.5}, positions="response"),
        GREEDY,
        8,
        logprobs=2,
        monitor=("flattery",),
    )
    for _ in range(2):
        mine, theirs = (ask(each, request, prompt).all()[-1] for each in (shared_engine, engine))
        assert mine.token_ids == theirs.token_ids
        assert mine.num_reused_tokens == theirs.num_reused_tokens
        assert mine.readouts is not None
        assert theirs.readouts is not None
        assert mine.readouts["flattery"] == pytest.approx(theirs.readouts["flattery"], abs=1e-3)
    assert mine.num_reused_tokens > 0
    engine.stop(0)


def test_a_lost_device_ends_every_request_and_the_engine(shared_settings: ServerSettings) -> None:
    engine = build_engine(dataclasses.replace(shared_settings, max_batch_rows=2)).engine
    engine.start()
    long = GenerationRequest(sampling=GREEDY, max_tokens=200, stream=True)
    answers = [ask(engine, long, [1, 2, 3]) for _ in range(4)]
    answers[0].chunks.get(timeout=PATIENCE_SECONDS)
    os.kill(workers()[-1], signal.SIGKILL)
    for answer in answers:
        assert answer.all()[-1].finish_reason is FinishReason.ERROR
    _wait_until_dead(engine)
    with pytest.raises(EngineUnavailableError):
        ask(engine, long, [1, 2, 3])


def test_a_lost_device_is_noticed_while_nothing_runs(shared_settings: ServerSettings) -> None:
    engine = build_engine(shared_settings).engine
    engine.start()
    os.kill(workers()[-1], signal.SIGKILL)
    _wait_until_dead(engine)


def test_the_other_processes_end_with_a_killed_leader(
    tiny_model_folder: Path, tiny_vectors_folder: Path
) -> None:
    program = (
        "from triton_models.engine.build import build_engine\n"
        "from triton_models.settings import read_settings\n"
        "import time\n"
        "build_engine(read_settings()).engine.start()\n"
        "print('started', flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {
        **os.environ,
        "MODEL_NAME": str(tiny_model_folder),
        "VECTORS_DIR": str(tiny_vectors_folder),
        "DEVICE": "cpu",
        "TENSOR_PARALLEL": "2",
        "TORCH_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == "started\n"
        found = subprocess.run(
            ["pgrep", "-P", str(leader.pid)], capture_output=True, text=True, check=True
        )
        leader.kill()
    worker = int(found.stdout)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline, "the worker outlives its leader"
        time.sleep(0.1)


def test_a_model_that_does_not_divide_is_refused(shared_settings: ServerSettings) -> None:
    with pytest.raises(UnsupportedModelError, match=r"TENSOR_PARALLEL is 3, .* 2 key/value heads"):
        build_engine(dataclasses.replace(shared_settings, tensor_parallel=3))
    assert not workers()


def _wait_until_dead(engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while engine.alive:
        assert time.monotonic() < deadline, "the engine lives on"
        time.sleep(0.05)
