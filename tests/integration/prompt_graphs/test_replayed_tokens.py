"""Replayed steps with prompts give the tokens of steps that are launched kernel by kernel.

On the CPU a replay is the recorded function itself, and variable-length attention is what its
documentation says: see `test_decode_graphs` and `test_attention_in_place`. What a replay could read
or write beyond its step is poisoned or watched.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from tests.integration.prompt_graphs.recording import count_runs, record
from tests.integration.stepping import NUM_ROWS, ROOM, make_runner
from tests.integration.test_decode_graphs import END_IDS, SAMPLINGS, loaded
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.contract.steering import Positions
from triton_models.engine import prompt_graphs
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.scheduler import Plan, Scheduler
from triton_models.engine.sequence import FinishReason, Sequence
from triton_models.model.attention import FIRST_SLOT
from triton_models.steering.row_steering import RowSteering

POSITIONS: tuple[Positions, ...] = ("all", "prompt", "response")
NUM_STEPS = 120


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
        self._earlier: list[tuple[list[int], RowSteering]] = []

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
        steered = [RowSteering.adding({1: drawn}, positions) for positions in POSITIONS]
        delta = pick.choice([RowSteering(), *steered])
        if self._earlier and pick.random() < 0.5:
            beginning, delta = pick.choice(self._earlier)
            prompt = (beginning + prompt)[: ROOM - 15]
        self._earlier.append((prompt, delta))
        max_tokens = pick.randint(1, 14)
        for server in self._servers:
            server.add(Sequence(request, prompt, max_tokens, delta, lambda _: None))


@pytest.mark.parametrize(("seed", "budget"), [(0, 40), (2, 60)])
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
    from tests.integration.test_fused_forward import fused_runner, take_few_programs

    take_few_programs(monkeypatch)
    monkeypatch.setattr(prompt_graphs, "TOKEN_COUNTS", (4, 8))  # the interpreter takes its time
    modules = make_runner(loaded(tiny_model_folder), END_IDS)
    kernels = fused_runner(loaded(tiny_model_folder), monkeypatch, END_IDS)
    record(kernels)
    counts = count_runs(kernels, monkeypatch)
    course = Course(4, [Server(modules, 8), Server(kernels, 8)])
    assert sum(course.step() for _ in range(8)) > 8
    assert counts["replayed"] > 3
