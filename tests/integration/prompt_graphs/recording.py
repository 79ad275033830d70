"""Replays of prompts' steps whose memory is poisoned and whose runs are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.integration.test_decode_graphs import replay_itself
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.scheduler import Plan

POISON = 2**40
MAX_PROMPTS = 3


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
