"""Replayed steps with prompts give the tokens of steps that are launched kernel by kernel.

On the CPU a replay is the recorded function itself, and variable-length attention is what its
documentation says: see `test_decode_graphs` and `test_attention_in_place`. What a replay could read
or write beyond its step is poisoned or watched.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from tests.conftest import CONTEXT_LENGTH
from tests.integration.stepping import NUM_ROWS, ROOM, make_runner, make_sequence, plan_of
from tests.integration.test_attention_in_place import documented_attention
from tests.integration.test_decode_graphs import END_IDS, SAMPLINGS, loaded, replay_itself
from triton_models.contract.request import GenerationRequest, Positions, SamplingParameters
from triton_models.engine import model_runner, prompt_graphs
from triton_models.engine.choose_forward import Kernels
from triton_models.engine.forward_pass import HookedForward
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.engine.packed_batch import StepSize, StepTensors
from triton_models.engine.prompt_graphs import PromptGraphs
from triton_models.engine.scheduler import Plan, Scheduler
from triton_models.engine.sequence import FinishReason, Sequence
from triton_models.model import attention
from triton_models.model.attention import FIRST_SLOT
from triton_models.steering.delta import SteeringDelta
from triton_models.steering.readout import Readout

POISON = 2**40
POSITIONS: tuple[Positions, ...] = ("all", "prompt", "response")
MAX_PROMPTS = 3
NUM_STEPS = 120


@pytest.fixture(autouse=True)
def small_graphs_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as small as the steps of a test, and attention as on a GPU."""
    monkeypatch.setattr(prompt_graphs, "ROW_COUNTS", (0, 2))
    monkeypatch.setattr(prompt_graphs, "TOKEN_COUNTS", (8, 14, 24, 40))
    monkeypatch.setattr(prompt_graphs, "MAX_PROMPTS", MAX_PROMPTS)
    monkeypatch.setattr(prompt_graphs, "PIECE_TOKENS", 4)
    monkeypatch.setattr(attention, "varlen_attn", documented_attention)
    monkeypatch.setattr(attention, "attends_in_place", lambda *_: True)


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """What nobody writes is not a number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def record(runner: ModelRunner) -> None:
    """Records all steps; what is in the static tensors from earlier ones is poison."""

    def poisoning(function: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            runner._logits.fill_(torch.nan)
            function()
            if runner._prompt_graphs is not None:
                runner._prompt_graphs._numbers.fill_(POISON)

        return replay

    runner.record(replay_itself)
    runner.record_prompts(poisoning)


class Server:
    """A runner with a scheduler.

    Args:
        runner: The runner.
        budget: The most prompt tokens of a step.
    """

    def __init__(self, runner: ModelRunner, budget: int) -> None:
        self._runner = runner
        self._scheduler = Scheduler(NUM_ROWS, lambda _: budget, KVRoom(NUM_ROWS * ROOM, reuse=True))
        self._slots = runner._cache._slots
        self._slots[:, FIRST_SLOT:] = torch.nan
        self.sequences: list[Sequence] = []
        self.num_copied = self.num_chunked = 0

    def add(self, sequence: Sequence) -> None:
        """Takes a request."""
        self.sequences.append(sequence)
        self._scheduler.add(sequence)

    def step(self) -> list[tuple[int, int]]:
        """Runs a step, and returns its rows and tokens."""
        runner = self._runner
        for sequence in self._scheduler.remove_finished():
            if sequence.row is not None:
                runner.release(sequence.row)
        if admitted := self._scheduler.admit():
            runner.assign(admitted)
        plan = self._scheduler.plan()
        if plan.is_empty:
            return []
        self.num_copied += len(plan.copies)
        self.num_chunked += any(not each.gives_token for each in plan.prompts)
        before = self._slots.clone()
        tokens = runner.launch(plan).wait()
        self._check_slots(plan, before)
        given = []
        for sequence, token, logprobs in tokens:
            assert token is not None
            assert (logprobs is not None) == (sequence.request.logprobs is not None)
            sequence.append(token, b"x", ends=token in END_IDS, logprobs=logprobs)
            given.append((sequence.row or 0, token))
        return given

    def _check_slots(self, plan: Plan, before: torch.Tensor) -> None:
        """Checks that a step wrote the slots of its tokens, and no others."""
        written = torch.zeros(self._slots.shape[1], dtype=torch.bool)
        copied = written.clone()
        for copy in plan.copies:
            assert copy.sequence.extent is not None
            copied[copy.sequence.extent.start :][: copy.length] = True
        for sequence, position in zip(plan.generating, plan.positions, strict=True):
            assert sequence.extent is not None
            written[sequence.extent.start + position] = True
        for each in plan.prompts:
            assert each.sequence.extent is not None
            written[each.sequence.extent.start :][each.start : each.end] = True
        bits = [each.view(torch.int32).transpose(0, 1).flatten(1) for each in (before, self._slots)]
        changed = (bits[0] != bits[1]).any(dim=1)
        changed[:FIRST_SLOT] = False
        assert not (changed & ~written & ~copied).any()
        assert self._slots[:, written].isfinite().all()
        assert self._slots[:, :FIRST_SLOT].isfinite().all()
        assert not self._runner._state._columns[1:, -1].any(), "the dummy row stands still"


class Course:
    """Requests that come, end and are cancelled, the same ones at all servers.

    Args:
        seed: Of the course.
        servers: The servers.
    """

    def __init__(self, seed: int, servers: list[Server]) -> None:
        self._pick = random.Random(seed)
        self._servers = servers
        self._earlier: list[tuple[list[int], SteeringDelta]] = []

    def step(self) -> int:
        """Runs a step of all servers, compares their tokens, and returns how many those are."""
        for _ in range(self._pick.choice((0, 0, 0, 1, 1, 2, 5))):
            self._come()
        if self._pick.random() < 0.1:
            place = self._pick.randrange(len(self._servers[0].sequences) or 1)
            for server in self._servers:
                if server.sequences and not server.sequences[place].finished:
                    server.sequences[place].finish(FinishReason.CANCELLED)
        expected, *others = (server.step() for server in self._servers)
        assert all(each == expected for each in others)
        return len(expected)

    def _come(self) -> None:
        pick = self._pick
        request = GenerationRequest(
            sampling=SamplingParameters(**pick.choice(SAMPLINGS), seed=pick.randrange(999)),
            logprobs=2 if pick.random() < 0.1 else None,
        )
        prompt = [pick.randrange(100) for _ in range(pick.choice((1, 3, 7, 20, 44)))]
        drawn = torch.randn(64, generator=torch.Generator().manual_seed(pick.randrange(2)))
        steered = [SteeringDelta({1: drawn}, positions) for positions in POSITIONS]
        delta = pick.choice([SteeringDelta({}), *steered])
        if self._earlier and pick.random() < 0.5:
            beginning, delta = pick.choice(self._earlier)
            prompt = (beginning + prompt)[: ROOM - 15]
        self._earlier.append((prompt, delta))
        max_tokens = pick.randint(1, 14)
        for server in self._servers:
            server.add(Sequence(request, prompt, max_tokens, delta, lambda _: None))


def count_runs(runner: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Returns counts, which go on, of the steps with prompts that are replayed and that are not."""
    counts = {"replayed": 0, "computed": 0}
    graphs = runner._prompt_graphs
    assert graphs is not None
    run, batch = graphs.run, runner.batch

    def counted_run(*args: Any) -> None:
        counts["replayed"] += 1
        run(*args)

    def counted_batch(plan: Plan) -> Any:
        counts["computed"] += bool(plan.prompts)
        return batch(plan)

    monkeypatch.setattr(graphs, "run", counted_run)
    monkeypatch.setattr(runner, "batch", counted_batch)
    return counts


@pytest.mark.parametrize(("seed", "budget"), [(0, 40), (1, 40), (2, 60)])
def test_replayed_steps_give_the_tokens_of_plain_ones(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, budget: int
) -> None:
    plain = make_runner(loaded(tiny_model_folder), END_IDS)
    replaying = make_runner(loaded(tiny_model_folder), END_IDS)
    record(replaying)
    counts = count_runs(replaying, monkeypatch)
    servers = [Server(plain, budget), Server(replaying, budget)]
    course = Course(seed, servers)
    num_tokens = sum(course.step() for _ in range(NUM_STEPS))
    assert num_tokens > NUM_STEPS
    assert counts["replayed"] > NUM_STEPS / 4
    assert counts["computed"] > 0  # more prompts, or tokens, than a graph has room for
    assert servers[1].num_copied > 0
    assert servers[1].num_chunked > 0


def test_replayed_steps_of_kernels_give_the_tokens_of_plain_modules(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, poisoned_memory: None
) -> None:
    pytest.importorskip("triton")
    from tests.integration.test_fused_forward import fused_runner
    from triton_models.kernels import block_sizes

    monkeypatch.setattr(block_sizes, "_WANTED_PROGRAMS", 12)
    monkeypatch.setattr(prompt_graphs, "TOKEN_COUNTS", (5, 12))  # the interpreter takes its time
    modules = make_runner(loaded(tiny_model_folder), END_IDS)
    kernels = fused_runner(loaded(tiny_model_folder), monkeypatch, END_IDS)
    record(kernels)
    counts = count_runs(kernels, monkeypatch)
    course = Course(4, [Server(modules, 12), Server(kernels, 12)])
    assert sum(course.step() for _ in range(8)) > 8
    assert counts["replayed"] > 3


class Sizes:
    """Graphs that note which of them runs."""

    def __init__(self, num_rows: int, num_tokens: int) -> None:
        self.run: list[StepSize] = []
        self.recorded: list[StepSize] = []
        self.graphs = PromptGraphs(
            lambda tensors, _: self.recorded.append(tensors.size),
            num_rows,
            num_tokens,
            context_length=500,
            dummy_row=num_rows,
            device=torch.device("cpu"),
            capture=self._capture,
        )

    def _capture(self, function: Callable[[], None]) -> Callable[[], None]:
        function()
        size = self.recorded[-1]
        return lambda: self.run.append(size)

    def size_for(self, num_rows: int, *lengths: int) -> tuple[int, int] | None:
        """Returns the rows and the prompt tokens of the graph that a step goes to."""
        steered = SteeringDelta({})
        running = [make_sequence(row, steered, list(range(3))) for row in range(num_rows)]
        prompts = [make_sequence(0, steered, [1] * length) for length in lengths]
        for sequence in (*running, *prompts):
            assert sequence.extent is not None
            sequence.extent.length = 500
        plan = plan_of(running, prompts)
        if not self.graphs.fits(plan):
            return None
        self.graphs.run(plan)
        return self.run[-1].num_rows, self.run[-1].num_tokens


def test_a_step_goes_to_the_smallest_graph_that_it_fits() -> None:
    sizes = Sizes(num_rows=5, num_tokens=30)
    counts = [(size.num_rows, size.num_tokens) for size in sizes.recorded]
    assert counts == [(rows, tokens) for tokens in (30, 24, 14, 8) for rows in (5, 2, 0)]
    assert sizes.size_for(0, 8) == (0, 8)
    assert sizes.size_for(1, 9) == (2, 14)
    assert sizes.size_for(2, 8, 6) == (2, 14)
    assert sizes.size_for(3, 20, 5) == (5, 30)
    assert sizes.size_for(0, 31) is None
    assert sizes.size_for(0, *[2] * MAX_PROMPTS) == (0, 8)
    assert sizes.size_for(0, *[2] * (MAX_PROMPTS + 1)) is None
    assert [size.num_last for size in sizes.recorded[:3]] == [5, 5, 3]


def test_small_budgets_and_single_rows_have_graphs_too() -> None:
    sizes = Sizes(num_rows=1, num_tokens=5)
    assert [(size.num_rows, size.num_tokens) for size in sizes.recorded] == [(1, 5), (0, 5)]
    assert Sizes(num_rows=2, num_tokens=65_536).recorded[0].num_tokens == 40


def test_what_fills_a_graph_up_points_at_slot_0_and_the_dummy_row() -> None:
    sizes = Sizes(num_rows=5, num_tokens=30)
    assert sizes.size_for(1, 9) == (2, 14)
    sent = StepTensors(sizes.graphs._numbers, sizes.run[-1])
    assert sent.rows.tolist() == [0, 5]
    assert not sent.columns[:, 9:].any()
    assert sent.last_tokens.tolist() == [0, 10, 0, 0, 0]
    starts, first_slots, reaches = sent.pieces.tolist()
    filling = len(starts) - 5
    assert starts == [0, 4, 8, 9, 13] + [14] * filling
    assert first_slots == [FIRST_SLOT] * 3 + [0, 0] + [0] * filling
    assert reaches == [4, 8, 9, 1, 1] + [0] * filling


def test_monitored_steps_with_prompts_are_computed_as_before(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(loaded(tiny_model_folder), END_IDS)
    record(runner)
    counts = count_runs(runner, monkeypatch)
    monitored, other, fresh = (make_sequence(row, SteeringDelta({})) for row in range(3))
    monitored.readout = Readout(("kind",), (1,), np.ones((1, 64), dtype=np.float32))
    runner.assign([monitored, other, fresh])
    runner.launch(plan_of([], [monitored, other])).wait()
    assert counts == {"replayed": 1, "computed": 0}
    runner.launch(plan_of([monitored, other], [fresh])).wait()
    assert counts == {"replayed": 1, "computed": 1}


def test_a_replayed_step_is_sent_as_one_tensor(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = make_runner(loaded(tiny_model_folder), END_IDS)
    record(runner)
    running, *fresh = (make_sequence(row, SteeringDelta({})) for row in range(3))
    runner.assign([running, *fresh])
    runner.launch(plan_of([], [running])).wait()
    uploads = []

    def upload(values: Any, *_: Any) -> torch.Tensor:
        uploads.append(values)
        return torch.as_tensor(values)

    for module in (prompt_graphs, model_runner):
        monkeypatch.setattr(module, "upload", upload)
    runner.launch(plan_of([running], fresh)).wait()
    assert len(uploads) == 2, "the step, and the rows that get a token"


def compute_nothing() -> None:
    """Is what a replay must not be."""


def runner_on_a_gpu(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capture: Callable[[Callable[[], None]], Callable[[], None]],
) -> ModelRunner:
    """Returns a runner made as on a GPU, whose steps with prompts are recorded so."""
    pytest.importorskip("triton")

    made: list[Captures] = []

    class Captures:
        """The first one records steps with prompts so, before those that only generate."""

        def __init__(self, _: torch.device) -> None:
            made.append(self)
            self._num_left = 0
            if len(made) == 1:
                self._num_left = len((0, 2, NUM_ROWS)) * len(prompt_graphs.TOKEN_COUNTS)

        def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
            self._num_left -= 1
            return function if self._num_left < 0 else capture(function)

    def kernels_for(*args: Any) -> tuple[HookedForward, Kernels]:
        return HookedForward(*args[:3]), Kernels(fused=True)

    monkeypatch.setattr(model_runner, "choose_forward", kernels_for)
    monkeypatch.setattr(model_runner, "GraphCapture", Captures)
    sizes = RunnerSizes(NUM_ROWS, NUM_ROWS * ROOM, CONTEXT_LENGTH)
    return ModelRunner(loaded(folder).model, sizes, END_IDS)


def test_a_server_that_starts_checks_what_it_replays(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner = runner_on_a_gpu(tiny_model_folder, monkeypatch, replay_itself)
    counts = count_runs(runner, monkeypatch)
    sequence = make_sequence(0, SteeringDelta({}))
    runner.assign([sequence])
    runner.launch(plan_of([], [sequence])).wait()
    assert counts == {"replayed": 1, "computed": 0}
    assert "not replayed" not in caplog.text
    assert not any(runner._steering.of_block(block).any() for block in range(2))


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (Mock(side_effect=RuntimeError("out of memory")), "out of memory"),
        (lambda _: compute_nothing, "their logits differ by"),
    ],
    ids=["no memory", "nothing computed"],
)
def test_a_server_that_cannot_replay_them_computes_as_before(
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    poisoned_memory: None,
    capture: Callable[[Callable[[], None]], Callable[[], None]],
    reason: str,
) -> None:
    runner = runner_on_a_gpu(tiny_model_folder, monkeypatch, capture)
    assert f"steps with prompts are not replayed, which costs speed: {reason}" in caplog.text
    sequence = make_sequence(0, SteeringDelta({}))
    runner.assign([sequence])
    ((_, token, _),) = runner.launch(plan_of([], [sequence])).wait()
    assert token is not None
