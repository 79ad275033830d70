"""Steps that the device computes from its own state give the tokens of steps that the host plans.

On the CPU a replay is the recorded function itself: what it reads and writes is what a CUDA graph
does. That CUDA replays it rightly needs a GPU.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.integration.stepping import NUM_ROWS, ROOM, make_runner, plan_of
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.decode_graphs import batch_sizes
from triton_models.engine.kv_room import Extent
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.sequence import Sequence
from triton_models.model.attention import FIRST_SLOT
from triton_models.model.loading import LoadedModel, load_model
from triton_models.settings import ServerSettings
from triton_models.steering.row_steering import RowSteering

NUM_STEPS = 150
SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {"temperature": 0.8, "top_k": 50, "top_p": 0.9},
    {"temperature": 1.0, "top_k": 5, "top_p": 1.0, "min_p": 0.05},
    {"temperature": 1.3, "top_k": 0, "top_p": 0.95},
    {"temperature": 0.7, "top_k": 100, "top_p": 1.0, "min_p": 0.02},
    {"temperature": 0.0, "repetition_penalty": 1.3},
    {"temperature": 0.9, "top_k": 20, "frequency_penalty": 0.4, "presence_penalty": 0.3},
]
BIASED = {"temperature": 0.9, "top_k": 20, "logit_bias": ((5, 8.0), (3, -100.0))}
END_IDS = (3, 7)


def replay_itself(function: Callable[[], None]) -> Callable[[], None]:
    return function


class Requests:
    """One course of requests that join, leave and are cancelled, for any number of runners.

    Args:
        seed: Of the course.
        samplings: What requests sample by.
    """

    def __init__(self, seed: int, samplings: list[dict[str, Any]]) -> None:
        self._pick = random.Random(seed)
        self._samplings = samplings
        self._running: dict[int, tuple[Sequence, ...]] = {}
        self.finished = 0

    def step(self, runners: tuple[ModelRunner, ...]) -> list[list[tuple[int, int | None]]]:
        """Lets requests come and go, runs a step, and returns each runner's rows and tokens."""
        for row in [row for row in self._running if self._pick.random() < 0.03]:
            self._release(row, runners)  # cancelled
        generating = sorted(self._running)
        free = [row for row in range(NUM_ROWS) if row not in self._running]
        joining = [row for row in free if self._pick.random() < 0.15]
        for row in joining:
            self._running[row] = self._make(row, len(runners))
        results = []
        for index, runner in enumerate(runners):
            sequences = {row: each[index] for row, each in self._running.items()}
            if joining:
                runner.assign([sequences[row] for row in joining])
            going = [sequences[row] for row in generating]
            plan = plan_of(going, [sequences[row] for row in joining])
            tokens = [] if plan.is_empty else runner.launch(plan).wait()
            for sequence, token, logprobs in tokens:
                assert token is not None
                assert (logprobs is not None) == (sequence.request.logprobs is not None)
                sequence.append(token, b"x", ends=token in END_IDS)
            results.append([(sequence.row or 0, token) for sequence, token, _ in tokens])
        for row in [row for row, each in self._running.items() if each[0].finished]:
            self._release(row, runners)
        return results

    def _release(self, row: int, runners: tuple[ModelRunner, ...]) -> None:
        del self._running[row]
        self.finished += 1
        for runner in runners:
            runner.release(row)

    def _make(self, row: int, count: int) -> tuple[Sequence, ...]:
        pick = self._pick
        request = GenerationRequest(
            sampling=SamplingParameters(**pick.choice(self._samplings), seed=pick.randrange(999)),
            logprobs=2 if pick.random() < 0.1 else None,
            min_tokens=pick.choice([0, 0, 5]),
        )
        prompt = [pick.randrange(100) for _ in range(pick.randint(1, 20))]
        max_tokens = pick.randint(1, 39)
        drawn = torch.randn(64, generator=torch.Generator().manual_seed(pick.randrange(9)))
        delta = RowSteering.adding({pick.randrange(3): drawn}) if pick.random() < 0.7 else None
        sequences = []
        for _ in range(count):
            made = Sequence(request, prompt, max_tokens, delta or RowSteering(), lambda _: None)
            made.row = row
            made.extent = Extent(FIRST_SLOT + row * ROOM, ROOM, made.content)
            sequences.append(made)
        return tuple(sequences)


def loaded(folder: Path) -> LoadedModel:
    return load_model(folder, ServerSettings(device="cpu", dtype="float32"))


def test_sizes_are_few_and_reach_the_most_rows() -> None:
    assert batch_sizes(1) == [1]
    assert batch_sizes(20) == [1, 2, 4, 8, 16, 20]
    assert batch_sizes(256)[-3:] == [240, 248, 256]
    assert batch_sizes(400)[-4:] == [256, 320, 384, 400]


@pytest.mark.parametrize("samplings", [SAMPLINGS[:1], SAMPLINGS[:3], [*SAMPLINGS, BIASED]])
@pytest.mark.parametrize("seed", range(3))
def test_the_device_steps_as_the_host_plans(
    tiny_model_folder: Path, samplings: list[dict[str, Any]], seed: int
) -> None:
    planned = make_runner(loaded(tiny_model_folder), END_IDS)
    recorded = make_runner(loaded(tiny_model_folder), END_IDS)
    recorded.record(replay_itself)
    requests = Requests(seed, samplings)
    num_tokens = 0
    for _ in range(NUM_STEPS):
        expected, got = requests.step((planned, recorded))
        assert got == expected
        num_tokens += len(got)
    assert num_tokens > NUM_STEPS
    assert requests.finished > 30


def test_what_the_host_uploads_for_a_step_is_who_came_and_went(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton_models.engine import decode_graphs, model_runner

    runner = make_runner(loaded(tiny_model_folder), END_IDS)
    runner.record(replay_itself)
    requests = Requests(1, SAMPLINGS[:3])
    running = tuple(requests._make(row, 1)[0] for row in range(3))
    runner.assign(running)
    runner.launch(plan_of([], running)).wait()
    uploads = []

    def upload(values: Any, *_: Any) -> torch.Tensor:
        uploads.append(values)
        return torch.as_tensor(values)

    for module in (decode_graphs, model_runner):
        monkeypatch.setattr(module, "upload", upload)
    for sequences in (running, running, running[1:], running[1:], running):
        runner.launch(plan_of(sequences, [])).wait()
    assert [len(each) for each in uploads] == [4, 2, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_replayed_steps_give_the_tokens_of_plain_ones(
    tiny_model_folder: Path, tiny_vectors_folder: Path
) -> None:
    from tests.integration.asking import GREEDY, ask
    from tests.integration.test_engine_against_generate import STEERINGS
    from triton_models.contract.request import GenerationRequest
    from triton_models.engine.build import build_engine

    answers = []
    for cuda_graphs in (True, False):
        settings = ServerSettings(
            model_name=str(tiny_model_folder),
            vectors=tiny_vectors_folder,
            device="cuda",
            dtype="float16",
            cuda_graphs=cuda_graphs,
        )
        engine = build_engine(settings).engine
        engine.start()
        asked = [
            ask(engine, GenerationRequest(steering, GREEDY, 12), [1, 2, 3])
            for steering in STEERINGS
        ]
        answers.append([answer.tokens() for answer in asked])
        engine.stop(0)
    assert answers[0] == answers[1]
