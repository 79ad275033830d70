"""Which graph a step goes to, what fills it up, and what is sent for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.integration.prompt_graphs.recording import MAX_PROMPTS, count_runs, record
from tests.integration.stepping import make_runner, make_sequence, plan_of
from tests.integration.test_decode_graphs import END_IDS, loaded
from triton_models.engine import model_runner, prompt_graphs
from triton_models.engine.packed_batch import StepSize, StepTensors
from triton_models.engine.prompt_graphs import PromptGraphs
from triton_models.model.attention import FIRST_SLOT
from triton_models.steering.readout import MonitoredDirection, Readout
from triton_models.steering.row_steering import RowSteering


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
        steered = RowSteering()
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
    monitored, other, fresh = (make_sequence(row, RowSteering()) for row in range(3))
    monitored.readout = Readout((MonitoredDirection("kind", 1, np.ones(64, np.float32)),))
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
    running, *fresh = (make_sequence(row, RowSteering()) for row in range(3))
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
