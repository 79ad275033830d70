"""GPU kernels against float64 references, on drawn shapes; without a GPU in their interpreter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from tests.unit.triton_models.kernels.interpreter import DEVICE, QUIET

pytest.importorskip("triton")

from triton_models.kernels import elementwise, few_rows
from triton_models.kernels.attention import HeadParameters, attend, rotate_and_store
from triton_models.kernels.block_sizes import ProductBlocks

pytestmark = [QUIET, pytest.mark.slow]  # the interpreter is


EPSILON = 1e-5
FEW_EXAMPLES = settings(max_examples=20)


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """What a kernel does not write is not a number."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class Inputs:
    """Fresh random tensors."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator(DEVICE).manual_seed(seed)

    def __call__(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator, device=DEVICE)

    def below(self, most: int, count: int) -> torch.Tensor:
        return torch.randint(most, (count,), generator=self._generator, device=DEVICE)


def norm(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return rms_norm(states.double(), weight.shape, weight.double(), EPSILON)


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    # A sum whose terms nearly cancel is as exact as they are, and they are about 1.
    scale = max(float(expected.abs().max()), 1.0)
    torch.testing.assert_close(got.double(), expected, atol=2e-6 * scale, rtol=1e-5)


class Heads:
    """Tokens' heads, where they lie in a cache, and what should come of them in float64."""

    def __init__(
        self, make: Inputs, reaches: list[int], shape: tuple[int, int, int], normalizes: bool
    ) -> None:
        num_heads, num_shared, head_size = shape
        self.num_heads, self.num_shared = num_heads, num_shared
        self.heads = make(len(reaches), num_heads + 2 * num_shared, head_size)
        self.positions = torch.tensor(reaches, device=DEVICE) - 1
        ends = torch.tensor(reaches, device=DEVICE).cumsum(0) + 1  # slot 0 is the dummies'
        self.slots = ends - 1
        self.cache = make(int(ends[-1]), 2 * num_shared, head_size)
        table = make(2, 300, 2, head_size)
        self.parameters = HeadParameters(
            num_heads,
            table[:, :, 1],
            make(head_size) if normalizes else None,
            make(head_size) if normalizes else None,
            EPSILON,
        )

    def turned(self) -> torch.Tensor:
        """Returns the heads with queries and keys normalized and rotated."""
        heads, parameters = self.heads.double(), self.parameters
        queries, keys, values = heads.split(
            [self.num_heads, self.num_shared, self.num_shared], dim=1
        )
        if parameters.query_norm is not None and parameters.key_norm is not None:
            queries, keys = norm(queries, parameters.query_norm), norm(keys, parameters.key_norm)
        cos, sin = parameters.rotations[:, self.positions].double().unsqueeze(2)

        def turn(each: torch.Tensor) -> torch.Tensor:
            turned: torch.Tensor = each * cos + each.roll(each.shape[-1] // 2, -1) * sin
            return turned

        return torch.cat((turn(queries), turn(keys), values), dim=1)

    def attended(self) -> torch.Tensor:
        turned, rows = self.turned(), []
        for index, (slot, position) in enumerate(
            zip(self.slots.tolist(), self.positions.tolist(), strict=True)
        ):
            lying = self.cache[slot - position : slot + 1].double()
            lying[-1] = turned[index, self.num_heads :]
            keys, values = lying.transpose(0, 1).split(self.num_shared)
            queries = turned[index, : self.num_heads, None]
            rows.append(scaled_dot_product_attention(queries, keys, values, enable_gqa=True))
        return torch.stack(rows).flatten(1)


SHAPES = st.sampled_from(
    [(4, 2, 16), (6, 2, 64), (7, 7, 16), (5, 1, 80), (3, 1, 96), (2, 1, 128), (9, 3, 8)]
)


@FEW_EXAMPLES
@given(
    reaches=st.lists(st.sampled_from([1, 2, 31, 32, 33, 64, 97, 190]), min_size=1, max_size=3),
    shape=SHAPES,
    num_splits=st.sampled_from([1, 2, 8]),
    normalizes=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_a_token_attends_to_all_of_its_sequence_and_nothing_else(
    reaches: list[int], shape: tuple[int, int, int], num_splits: int, normalizes: bool, seed: int
) -> None:
    case = Heads(Inputs(seed), reaches, shape, normalizes)
    expected, stored = case.attended(), case.turned()[:, case.num_heads :]
    # A sequence's last slot is not written yet, and the first one is nobody's.
    case.cache[case.slots] = torch.nan
    case.cache[0] = torch.nan
    before = case.cache.clone()
    got = attend(case.heads, case.positions, case.slots, case.cache, case.parameters, num_splits)
    close(got, expected)
    close(case.cache[case.slots], stored)
    untouched = torch.ones(len(before), dtype=torch.bool, device=DEVICE)
    untouched[case.slots] = False
    torch.testing.assert_close(case.cache[untouched], before[untouched], equal_nan=True)


def test_dummies_stand_in_slot_0_and_hurt_no_one() -> None:
    case = Heads(Inputs(3), [40], (4, 2, 16), False)
    expected = case.attended()
    dummies = torch.zeros(2, dtype=torch.int64, device=DEVICE)
    heads = torch.cat((case.heads, torch.full_like(case.heads, torch.inf).repeat(2, 1, 1)))
    slots, positions = torch.cat((case.slots, dummies)), torch.cat((case.positions, dummies))
    got = attend(heads, positions, slots, case.cache, case.parameters, 4)
    close(got[:1], expected)


@FEW_EXAMPLES
@given(shape=SHAPES, first=st.integers(0, 2), normalizes=st.booleans(), seed=st.integers(0, 2**20))
def test_prompts_are_rotated_and_stored(
    shape: tuple[int, int, int], first: int, normalizes: bool, seed: int
) -> None:
    case = Heads(Inputs(seed), [5, 1, 77, 2], shape, normalizes)
    expected = case.turned()
    before = case.cache.clone()
    queries = rotate_and_store(
        case.heads, first, case.positions, case.slots, case.cache, case.parameters
    )
    close(queries, expected[first:, : case.num_heads])
    close(case.cache[case.slots[first:]], expected[first:, case.num_heads :])
    assert case.cache[case.slots[:first]].equal(before[case.slots[:first]])


@FEW_EXAMPLES
@given(
    num_tokens=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    adds=st.booleans(),
    normalizes=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_few_rows_are_multiplied_with_all_that_stands_around_it(
    num_tokens: int, sizes: tuple[int, int], adds: bool, normalizes: bool, seed: int
) -> None:
    make, (in_size, out_size) = Inputs(seed), sizes
    inputs, weight, bias = make(num_tokens, in_size), make(out_size, in_size), make(out_size)
    norm_weight, residual = make(in_size), make(num_tokens, out_size)
    table, lines = make(4, out_size), make.below(4, num_tokens)
    got = few_rows.multiply(
        inputs,
        weight,
        bias if adds else None,
        ProductBlocks(4, 32, 4),
        norm=(norm_weight, EPSILON) if normalizes else None,
        residual=residual if adds else None,
        steering=(table, lines) if adds else None,
    )
    expected = norm(inputs, norm_weight) if normalizes else inputs.double()
    expected = expected @ weight.double().T
    if adds:
        expected += bias.double() + residual.double() + table.double()[lines]
    close(got, expected)


@FEW_EXAMPLES
@given(
    num_tokens=st.integers(1, 4),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_few_rows_are_gated(
    num_tokens: int, sizes: tuple[int, int], has_bias: bool, seed: int
) -> None:
    make, (in_size, out_size) = Inputs(seed), sizes
    inputs, weight, bias = (
        make(num_tokens, in_size),
        make(2 * out_size, in_size),
        make(2 * out_size),
    )
    norm_weight = make(in_size)
    got = few_rows.gate_up(inputs, weight, bias if has_bias else None, (norm_weight, EPSILON))
    joined = norm(inputs, norm_weight) @ weight.double().T + (bias.double() if has_bias else 0.0)
    gate, up = joined.chunk(2, dim=-1)
    close(got, silu(gate) * up)


@FEW_EXAMPLES
@given(
    num_tokens=st.integers(1, 9),
    size=st.integers(1, 300),
    seed=st.integers(0, 2**20),
)
def test_the_residual_stream_is_added_to_and_normalized(
    num_tokens: int, size: int, seed: int
) -> None:
    make = Inputs(seed)
    states, added, weight = make(num_tokens, size), make(num_tokens, size), make(size)
    out = make(num_tokens, size)
    expected = states.double() + added.double()
    new_states, normalized = elementwise.add_and_normalize(states, added, weight, EPSILON, out=out)
    assert new_states is out
    close(new_states, expected)
    close(normalized, norm(expected, weight))
    close(elementwise.normalize(states, weight, EPSILON), norm(states, weight))


@pytest.mark.parametrize("size", [1, 100, 1024, 1500])
def test_gates_open_and_close(size: int) -> None:
    joined = 30 * Inputs(size)(3, 2 * size)
    gate, up = joined.double().chunk(2, dim=-1)
    close(elementwise.gate(joined), silu(gate) * up)
