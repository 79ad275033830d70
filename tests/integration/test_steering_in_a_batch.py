"""Invariants 2, 3 and 6 of the design: each row gets its own steering and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import CONTEXT_LENGTH, HIDDEN_SIZE, NUM_LAYERS
from triton_models.engine.model_loading import LoadedModel, load_model
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.scheduler import Slice
from triton_models.engine.sequence import Sequence
from triton_models.request import GenerationRequest, Positions, SamplingParameters
from triton_models.settings import ServerSettings
from triton_models.steering.delta import SteeringDelta
from triton_models.steering.hooks import SteeringNotAppliedError

NUM_ROWS = 6


@pytest.fixture(params=["float32", "bfloat16"])
def loaded(request: pytest.FixtureRequest, tiny_model_folder: Path) -> LoadedModel:
    return load_model(tiny_model_folder, ServerSettings(device="cpu", dtype=request.param))


def make_sequence(
    row: int, delta: SteeringDelta, prompt: list[int] | None = None, generated: int = 0
) -> Sequence:
    request = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0))
    sequence = Sequence(request, prompt or [1, 2, 3], 50, delta, lambda _: None, "")
    sequence.row = row
    for token in range(generated):
        sequence.append(token, b"x", ends=False)
    return sequence


def one_hot(dimension: int, dtype: torch.dtype) -> torch.Tensor:
    vector = torch.zeros(HIDDEN_SIZE, dtype=dtype)
    vector[dimension] = 4.0
    return vector


def run(runner: ModelRunner, sequences: list[Sequence]) -> list[int | None]:
    for sequence in sequences:
        assert sequence.row is not None
        runner.assign(sequence.row, sequence.delta)
    return runner.step([Slice(each, 0, len(each.token_ids)) for each in sequences])


def capture(loaded: LoadedModel) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Captures every block's output [tokens, hidden] before and after the steering hooks."""
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []
    for block in loaded.model.model.layers:
        block.register_forward_hook(
            lambda _module, _args, output: before.append(output[0].clone()), prepend=True
        )
        block.register_forward_hook(lambda _module, _args, output: after.append(output[0].clone()))
    return before, after


@pytest.mark.parametrize("positions", ["all", "prompt", "response"])
def test_one_hot_vectors_reach_their_own_tokens_at_their_own_blocks_only(
    loaded: LoadedModel, positions: Positions
) -> None:
    runner = ModelRunner(loaded.model, NUM_ROWS, CONTEXT_LENGTH, [])
    before, after = capture(loaded)
    dtype = runner.dtype
    rounding = 1e-4 if dtype == torch.float32 else 0.25
    deltas = [
        SteeringDelta({block: one_hot(10 * row + block, dtype) for block in blocks}, positions)
        for row, blocks in enumerate([(0,), (), (1, 3), (2,), (), (0, 1, 2, 3)])
    ]
    sequences = [make_sequence(row, delta, generated=2) for row, delta in enumerate(deltas)]
    run(runner, sequences)

    assert len(before) == len(after) == NUM_LAYERS
    for block in range(NUM_LAYERS):
        added = (after[block] - before[block]).view(NUM_ROWS, 5, HIDDEN_SIZE)
        for row, delta in enumerate(deltas):
            for position in range(5):
                steered = positions == "all" or (positions == "prompt") == (position < 3)
                expected = torch.zeros(HIDDEN_SIZE, dtype=dtype)
                if steered and block in delta.blocks:
                    expected[10 * row + block] = 4.0
                torch.testing.assert_close(added[row, position], expected, atol=rounding, rtol=0)
                assert (added[row, position].nonzero().numel() > 0) == bool(expected.any())


def test_unsteered_rows_of_a_mixed_batch_are_bit_identical(loaded: LoadedModel) -> None:
    runner = ModelRunner(loaded.model, NUM_ROWS, CONTEXT_LENGTH, [])
    _, after = capture(loaded)
    nothing = SteeringDelta({})
    strong = SteeringDelta({block: torch.full((HIDDEN_SIZE,), 9.0) for block in range(NUM_LAYERS)})
    for delta in (nothing, strong):
        run(runner, [make_sequence(row, delta if row % 2 else nothing) for row in range(NUM_ROWS)])
    plain, mixed = (
        [output.view(NUM_ROWS, 3, HIDDEN_SIZE) for output in after[start : start + NUM_LAYERS]]
        for start in (0, NUM_LAYERS)
    )
    for one, other in zip(plain, mixed, strict=True):
        assert torch.equal(one[::2], other[::2])
        assert not torch.equal(one[1::2], other[1::2])


def test_a_released_row_keeps_nothing_of_its_request(loaded: LoadedModel) -> None:
    runner = ModelRunner(loaded.model, NUM_ROWS, CONTEXT_LENGTH, [])
    _, after = capture(loaded)
    strong = SteeringDelta({block: torch.full((HIDDEN_SIZE,), 9.0) for block in range(NUM_LAYERS)})
    run(runner, [make_sequence(0, SteeringDelta({}))])
    run(runner, [make_sequence(0, strong, prompt=list(range(40)))])
    runner.release(0, 40)
    runner.step([Slice(make_sequence(0, SteeringDelta({})), 0, 3)])
    first, last = after[:NUM_LAYERS], after[-NUM_LAYERS:]
    assert all(torch.equal(one, other) for one, other in zip(first, last, strict=True))


def test_a_pass_around_a_steering_hook_is_an_error(loaded: LoadedModel) -> None:
    runner = ModelRunner(loaded.model, NUM_ROWS, CONTEXT_LENGTH, [])
    loaded.model.model.layers[2]._forward_hooks.clear()
    with pytest.raises(SteeringNotAppliedError, match="3 of 4 decoder blocks"):
        run(runner, [make_sequence(0, SteeringDelta({}))])
