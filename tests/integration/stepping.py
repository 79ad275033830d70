"""Running single steps of a model runner, without an engine around it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import pytest
import torch

from tests.tiny_model import CONTEXT_LENGTH
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.kv_room import Extent
from triton_models.engine.launched_step import SampledToken
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.engine.scheduler import Plan, Slice
from triton_models.engine.sequence import Sequence
from triton_models.model.attention import FIRST_SLOT
from triton_models.model.loading import LoadedModel
from triton_models.steering.row_steering import RowSteering

NUM_ROWS = 6
ROOM = 60
"""How many slots each row gets."""


def make_runner(loaded: LoadedModel, end_ids: SequenceOf[int] = ()) -> ModelRunner:
    """Returns a runner with `NUM_ROWS` rows and `ROOM` slots for each."""
    sizes = RunnerSizes(NUM_ROWS, NUM_ROWS * ROOM, CONTEXT_LENGTH)
    return ModelRunner(loaded.model, sizes, end_ids, cuda_graphs=False)


def make_sequence(row: int, delta: RowSteering, prompt: list[int] | None = None) -> Sequence:
    """Returns a sequence that has a row and room of its own."""
    request = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0))
    sequence = Sequence(request, prompt or [1, 2, 3], 50, delta, lambda _: None)
    sequence.row = row
    sequence.extent = Extent(FIRST_SLOT + row * ROOM, ROOM, sequence.content)
    return sequence


def start(runner: ModelRunner, sequences: SequenceOf[Sequence]) -> list[SampledToken]:
    """Sets the sequences' steering, and computes their prompts."""
    runner.assign(sequences)
    return run(runner, plan_of([], sequences))


def generate(runner: ModelRunner, sequences: SequenceOf[Sequence]) -> list[SampledToken]:
    """Computes the newest token of each sequence."""
    return run(runner, plan_of(sequences, []))


def plan_of(generating: SequenceOf[Sequence], prompts: SequenceOf[Sequence]) -> Plan:
    """Returns a step of a token of each generating sequence, and the rest of each prompt."""
    positions = [sequence.launch_token() for sequence in generating]
    slices = []
    for sequence in prompts:
        start = sequence.num_computed
        slices.append(Slice(sequence, start, sequence.num_prompt_tokens - start, True))
        sequence.launch(slices[-1].length)
    return Plan(generating=generating, positions=positions, prompts=tuple(slices))


def run(runner: ModelRunner, plan: Plan) -> list[SampledToken]:
    """Computes a step, gives the sequences their tokens, and returns these."""
    tokens = runner.launch(plan).wait()
    for sequence, token, _ in tokens:
        assert token is not None
        sequence.append(token, b"x", ends=False)
    return tokens


def recorded_logits(runner: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Returns a list to which the logits of each step from now on are added."""
    logits = []
    forward = runner.forward

    def recording(*args: Any) -> torch.Tensor:
        logits.append(forward(*args))
        return logits[-1]

    monkeypatch.setattr(runner, "forward", recording)
    return logits
