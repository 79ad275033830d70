"""Invariants 2, 3 and 6 of the design: each row gets its own steering and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.integration.stepping import (
    NUM_ROWS,
    generate,
    make_runner,
    make_sequence,
    plan_of,
    run,
    start,
)
from tests.tiny_model import HIDDEN_SIZE, NUM_LAYERS
from triton_models.contract.steering import Positions
from triton_models.model.loading import LoadedModel, load_model
from triton_models.settings import ServerSettings
from triton_models.steering.hooks import SteeringNotAppliedError
from triton_models.steering.row_steering import RowSteering


@pytest.fixture(
    params=[("float32", True), ("float32", False), ("bfloat16", True), ("bfloat16", False)],
    ids=lambda param: f"{param[0]}-{'packed' if param[1] else 'plain'}",
)
def loaded(request: pytest.FixtureRequest, tiny_model_folder: Path) -> LoadedModel:
    dtype, packing = request.param
    settings = ServerSettings(device="cpu", dtype=dtype, cpu_packing=packing)
    return load_model(tiny_model_folder, settings)


def one_hot(dimension: int, dtype: torch.dtype) -> torch.Tensor:
    vector = torch.zeros(HIDDEN_SIZE, dtype=dtype)
    vector[dimension] = 4.0
    return vector


def capture(loaded: LoadedModel) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Captures every block's output [tokens, hidden] before and after the steering hooks."""
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []
    for block in loaded.model.blocks:
        block.register_forward_hook(
            lambda _module, _args, output: before.append(output.clone()), prepend=True
        )
        block.register_forward_hook(lambda _module, _args, output: after.append(output.clone()))
    return before, after


@pytest.mark.parametrize("positions", ["all", "prompt", "response"])
def test_one_hot_vectors_reach_their_own_tokens_at_their_own_blocks_only(
    loaded: LoadedModel, positions: Positions
) -> None:
    runner = make_runner(loaded)
    before, after = capture(loaded)
    dtype = runner.dtype
    rounding = 1e-4 if dtype == torch.float32 else 0.25
    deltas = [
        RowSteering.adding({block: one_hot(10 * row + block, dtype) for block in blocks}, positions)
        for row, blocks in enumerate([(0,), (), (1, 3), (2,), (), (0, 1, 2, 3)])
    ]
    sequences = [make_sequence(row, delta) for row, delta in enumerate(deltas)]
    start(runner, sequences)
    generate(runner, sequences)
    generate(runner, sequences)

    assert len(before) == len(after) == 3 * NUM_LAYERS
    for block in range(NUM_LAYERS):
        steps = [after[i] - before[i] for i in range(block, 3 * NUM_LAYERS, NUM_LAYERS)]
        added = torch.cat([step.view(NUM_ROWS, -1, HIDDEN_SIZE) for step in steps], dim=1)
        for row, delta in enumerate(deltas):
            for position in range(5):
                expected = torch.zeros(HIDDEN_SIZE, dtype=dtype)
                if block in (delta.prompt if position < 3 else delta.response):
                    expected[10 * row + block] = 4.0
                torch.testing.assert_close(added[row, position], expected, atol=rounding, rtol=0)
                assert (added[row, position].nonzero().numel() > 0) == bool(expected.any())


def test_unsteered_rows_of_a_mixed_batch_are_bit_identical(loaded: LoadedModel) -> None:
    runner = make_runner(loaded)
    _, after = capture(loaded)
    nothing = RowSteering()
    strong = RowSteering.adding(
        {block: torch.full((HIDDEN_SIZE,), 9.0) for block in range(NUM_LAYERS)}
    )
    for delta in (nothing, strong):
        start(
            runner, [make_sequence(row, delta if row % 2 else nothing) for row in range(NUM_ROWS)]
        )
    plain, mixed = (
        [output.view(NUM_ROWS, 3, HIDDEN_SIZE) for output in after[start : start + NUM_LAYERS]]
        for start in (0, NUM_LAYERS)
    )
    for one, other in zip(plain, mixed, strict=True):
        assert torch.equal(one[::2], other[::2])
        assert not torch.equal(one[1::2], other[1::2])


def test_a_released_row_keeps_nothing_of_its_request(loaded: LoadedModel) -> None:
    runner = make_runner(loaded)
    _, after = capture(loaded)
    strong = RowSteering.adding(
        {block: torch.full((HIDDEN_SIZE,), 9.0) for block in range(NUM_LAYERS)}
    )
    start(runner, [make_sequence(0, RowSteering())])
    start(runner, [make_sequence(0, strong, prompt=list(range(40)))])
    runner.release(0)
    run(runner, plan_of([], [make_sequence(0, RowSteering())]))
    first, last = after[:NUM_LAYERS], after[-NUM_LAYERS:]
    assert all(torch.equal(one, other) for one, other in zip(first, last, strict=True))


def test_a_pass_around_a_steering_hook_is_an_error(loaded: LoadedModel) -> None:
    runner = make_runner(loaded)
    loaded.model.blocks[2]._forward_hooks.clear()
    with pytest.raises(SteeringNotAppliedError, match="3 of 4 decoder blocks"):
        start(runner, [make_sequence(0, RowSteering())])
