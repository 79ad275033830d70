"""Runners whose steps are replayed, or made of kernels, to stand beside a plain one.

On the CPU a replay is the recorded function itself, and the kernels run in their interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.stepping import make_runner
from tests.integration.test_decode_graphs import loaded, replay_itself
from triton_models.engine.model_runner import ModelRunner

REPLAYED_SIZES = [4, 4, 4, 6, 2]
"""What is replayed of a course over rows with rules: one and two of them as a step of more."""


def replayed_modules(folder: Path) -> ModelRunner:
    """Returns a runner whose modules' steps are replayed, of generating tokens and of prompts."""
    runner = make_runner(loaded(folder))
    runner.record(replay_itself)
    runner.record_prompts(replay_itself)
    return runner


def kernels(
    folder: Path, monkeypatch: pytest.MonkeyPatch, replays: bool
) -> tuple[ModelRunner, list[int]]:
    """Returns a runner of kernels, and a list to which each replayed step's size is added."""
    pytest.importorskip("triton")
    from tests.integration.test_fused_forward import fused_runner, take_few_programs

    take_few_programs(monkeypatch)
    runner = fused_runner(loaded(folder), monkeypatch)
    if not replays:
        return runner, []
    runner.record(replay_itself, modes=())
    return runner, _replayed_sizes(runner, monkeypatch)


def _replayed_sizes(runner: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns a list to which the size of each step that is replayed from now on is added."""
    graphs = runner._graphs
    assert graphs is not None
    sizes: list[int] = []

    def noting(size: int, replay: Callable[[], None]) -> Callable[[], None]:
        def noted() -> None:
            sizes.append(size)
            replay()

        return noted

    noted = {key: noting(key[0], replay) for key, replay in graphs._replays.items()}
    monkeypatch.setattr(graphs, "_replays", noted)
    return sizes
