"""A server that starts checks what it replays, and computes as before where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from tests.integration.prompt_graphs.recording import count_runs
from tests.integration.stepping import NUM_ROWS, ROOM, make_sequence, plan_of
from tests.integration.test_decode_graphs import END_IDS, loaded, replay_itself
from tests.tiny_model import CONTEXT_LENGTH
from triton_models.engine import model_runner, prompt_graphs
from triton_models.engine.choose_forward import Kernels
from triton_models.engine.forward_pass import HookedForward
from triton_models.engine.model_runner import ModelRunner, RunnerSizes
from triton_models.steering.row_steering import RowSteering


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
    sequence = make_sequence(0, RowSteering())
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
    sequence = make_sequence(0, RowSteering())
    runner.assign([sequence])
    ((_, token, _),) = runner.launch(plan_of([], [sequence])).wait()
    assert token is not None
