"""Steering inside a kernel against float64, and windows against what they mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import rms_norm

from tests.unit.triton_models.kernels.interpreter import DEVICE, QUIET
from tests.unit.triton_models.kernels.steering_inputs import block_steering
from triton_models.contract.steering import OPERATION_PLACES

pytest.importorskip("triton")

from triton_models.kernels.elementwise import add_and_normalize
from triton_models.kernels.steering import BlockSteering, window_factors

pytestmark = QUIET

EPSILON = 1e-5
NUM_ROWS = 4
BLOCK = 2


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """What a kernel does not write is not a number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def drawn(num_tokens: int, size: int, generator: torch.Generator) -> BlockSteering:
    """Returns a steering whose rows have anything from nothing to everything."""

    def tensor(*shape: int, of: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=DEVICE).to(of)

    def below(most: int, *shape: int) -> torch.Tensor:
        return torch.randint(most, shape, generator=generator, device=DEVICE)

    steering = block_steering(tensor, NUM_ROWS, num_tokens, size)
    low = tensor(NUM_ROWS + 1, OPERATION_PLACES)
    least = below(2, *low.shape)
    bounds = torch.stack((low, low + tensor(*low.shape).abs(), tensor(*low.shape).abs(), least), -1)
    bounds[:, 0, 0], bounds[:, 1, 1] = -torch.inf, torch.inf
    counts, gate_blocks = below(OPERATION_PLACES + 1, NUM_ROWS + 1), below(3, NUM_ROWS + 1)
    counts[0], gate_blocks[0], steering.deltas[0] = 0, -1, 0.0
    units = torch.nn.functional.normalize
    return dataclasses.replace(
        steering,
        counts=counts.int(),
        directions=units(steering.directions, dim=-1),
        bounds=bounds.contiguous(),
        gate_blocks=gate_blocks.int(),
        gate_directions=units(steering.gate_directions, dim=-1),
        lines=below(2 * NUM_ROWS + 1, num_tokens),
        factors=below(3, num_tokens) / 2,
        gates=torch.full((num_tokens,), -1.0, device=DEVICE),
        num_gates=max(num_tokens - 1, 0),
    )


def steered(values: torch.Tensor, steering: BlockSteering, token: int) -> tuple[torch.Tensor, int]:
    """Returns a token's state in float64, steered, and what its gate says: -1 for none."""
    line = int(steering.lines[token])
    row, factor, gate = (line + 1) // 2, float(steering.factors[token]), -1
    if steering.gate_blocks[row] == BLOCK:
        gate = int(values @ steering.gate_directions[row].double() > steering.thresholds[row])
        factor *= gate
    values = values + factor * steering.deltas[line].double()
    for index in range(int(steering.counts[row])):
        direction = steering.directions[row, index].double()
        low, high, strength, least = steering.bounds[row, index].double()
        projection = values @ direction
        share = strength * max(factor, float(least))
        values = values + share * (projection.clamp(low, high) - projection) * direction
    return values, gate


@settings(max_examples=25)
@given(
    num_tokens=st.integers(1, 6),
    size=st.integers(2, 100),
    seed=st.integers(0, 2**31),
)
def test_tokens_are_added_to_decided_on_and_bounded(num_tokens: int, size: int, seed: int) -> None:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    steering = drawn(num_tokens, size, generator)
    states, added = torch.randn((2, num_tokens, size), generator=generator, device=DEVICE)
    expected = [
        steered(states[token].double() + added[token].double(), steering, token)
        for token in range(num_tokens)
    ]
    before = steering.factors.clone()
    weight = torch.ones(size, device=DEVICE)
    got, normalized = add_and_normalize(states, added, weight, EPSILON, steering)
    values = torch.stack([each for each, _ in expected])
    scale = float(values.abs().max())
    torch.testing.assert_close(got.double(), values, atol=2e-6 * scale, rtol=1e-5)
    torch.testing.assert_close(normalized, rms_norm(got, (size,), weight, EPSILON))
    for token, (_, gate) in enumerate(expected):
        assert steering.factors[token] == before[token] * (1 if gate < 0 else gate)
        assert steering.gates[token] == (gate if token < steering.num_gates else -1)


def test_a_window_opens_at_once_and_closes_in_equal_steps() -> None:
    windows = torch.tensor(
        [[0, 0, torch.inf, 1], [10, 12, 20, 5], [10, 10, 14, 1]], dtype=torch.float32, device=DEVICE
    )
    positions = torch.arange(22, device=DEVICE)

    def factors(line: int) -> list[float]:
        lines = torch.full_like(positions, line)
        return [round(each, 6) for each in window_factors(windows, lines, positions).tolist()]

    assert factors(0) == [1.0] * 22
    fading = [*[1.0] * 10, 0.0, 0.0, *[1.0] * 4, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0]
    assert factors(1) == factors(2) == pytest.approx(fading)
    assert factors(3) == [*[1.0] * 14, *[0.0] * 8]
