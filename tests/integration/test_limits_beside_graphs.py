"""Limits see the same tokens in steps that are replayed, or made of kernels, as in plain steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.runners_beside import kernels
from tests.integration.stepping import make_runner, make_sequence, plan_of, run
from tests.integration.test_decode_graphs import loaded
from tests.integration.test_rules_beside_graphs import STEERINGS, unit
from triton_models.contract.steering import Limit
from triton_models.engine.model_runner import ModelRunner
from triton_models.steering.limits import LimitWatch, ResolvedLimit


def course(runner: ModelRunner) -> list[list[tuple[int, float]]]:
    """Runs steps of every size, and returns where each row has reached its limits."""
    sequences = [
        make_sequence(row, steering, list(range(3 + row))) for row, steering in enumerate(STEERINGS)
    ]
    for row, sequence in enumerate(sequences[1:], start=1):
        resolved = [
            ResolvedLimit(
                Limit("kind", 0.0, above, over=1 + row % 2, action="report"),
                unit(block).numpy(),
                block,
                bound=0.0,
                is_enforced=False,
            )
            for block, above in ((1, True), (2, False))
        ]
        sequence.limits = LimitWatch(resolved)
    runner.assign(sequences)
    run(runner, plan_of([], sequences[:4]))
    run(runner, plan_of(sequences[:4], sequences[4:]))
    for count in (1, 2, 3, 6, 6):
        run(runner, plan_of(sequences[:count], []))
    return [
        [(each.token, each.projection) for each in sequence.limits.reached]
        for sequence in sequences
        if sequence.limits is not None
    ]


@pytest.mark.parametrize("replays", [False, True])
def test_kernels_and_modules_reach_the_same_limits(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, replays: bool
) -> None:
    runner, _ = kernels(tiny_model_folder, monkeypatch, replays)
    expected = course(make_runner(loaded(tiny_model_folder)))
    assert sum(map(len, expected)) > len(expected)
    for one, other in zip(expected, course(runner), strict=True):
        assert [token for token, _ in one] == [token for token, _ in other]
        for (_, projection), (_, same) in zip(one, other, strict=True):
            assert same == pytest.approx(projection, abs=1e-3)
