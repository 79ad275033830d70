"""The kernel draws tokens as its definition, and the function on a CPU, do.

Without a GPU it runs in the Triton language's interpreter, which is slow: so batches are small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.unit.triton_models.engine.test_sampling import odds_of_transformers
from tests.unit.triton_models.kernels.interpreter import DEVICE, QUIET
from triton_models.engine import sampling

pytest.importorskip("triton")

from triton_models.kernels import draw_from_all as draw_kernels

pytestmark = [QUIET, pytest.mark.slow]  # the interpreter is


INFINITY = float("inf")
NEAR_ONE = 1.0 - 2**-53
POISON = -7


class Wish(NamedTuple):
    """How one row's token is drawn."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = INFINITY
    min_p: float = 0.0
    draw: float = 0.5


def by_kernel(
    logits: torch.Tensor, wishes: list[Wish], wanted: list[bool] | None = None
) -> list[int]:
    """Draws in the kernel; rows without a wish keep their poison."""
    temperature, top_k, top_p, min_p, draws = columns(wishes)
    chosen = torch.full((len(wishes),), POISON, device=DEVICE)
    flags = torch.tensor(wanted or [True] * len(wishes), device=DEVICE)
    draw_kernels.draw_from_all(
        logits.to(DEVICE).contiguous(), flags, temperature, top_k, top_p, min_p, draws, chosen
    )
    return list(chosen.tolist())


def by_torch(logits: torch.Tensor, wishes: list[Wish]) -> list[int]:
    """Draws with the function for CPUs."""
    as_columns = [column.cpu().unsqueeze(1) for column in columns(wishes)]
    temperature, top_k, top_p, min_p, draws = as_columns
    drawn = sampling.draw_from_all(logits, temperature, top_k, top_p, min_p, draws)
    return list(drawn.tolist())


def columns(wishes: list[Wish]) -> list[torch.Tensor]:
    types = (torch.float32, torch.int64, torch.float32, torch.float32, torch.float64)
    values = zip(*wishes, strict=True)
    return [
        torch.tensor(column, dtype=dtype, device=DEVICE)
        for column, dtype in zip(values, types, strict=True)
    ]


# The definition, in float64.


def probabilities_left(logits: torch.Tensor, wish: Wish, slack: float) -> NDArray[np.float64]:
    """Returns what the filters leave of one row's probabilities, up to a factor; the rest are 0.

    Args:
        logits: float32 [vocabulary], finite or minus infinity.
        wish: The row's.
        slack: How much too far the thresholds of top-p and min-p lie, for what rounding does.
    """
    values = logits.double().numpy()
    temperature, top_p, min_p = (float(np.float32(value)) for value in (wish[0], *wish[2:4]))
    weights = np.exp((values - values.max()) / temperature)
    rising, places = np.unique(values, return_inverse=True)

    def of_greater(amounts: NDArray[Any]) -> NDArray[Any]:
        sums = np.bincount(places, amounts, minlength=len(rising))
        above: NDArray[Any] = (np.cumsum(sums[::-1])[::-1] - sums)[places]
        return above

    in_top_k = of_greater(np.ones_like(weights)) < (wish.top_k or INFINITY)
    weights[~in_top_k] = 0.0
    share_above = of_greater(weights) / weights.sum()
    left = in_top_k & (share_above < top_p + slack) & (weights >= min_p * (1.0 - slack))
    return np.where(left, weights, 0.0)


def certain_token(logits: torch.Tensor, wish: Wish, token: int) -> int | None:
    """Checks a drawn token; returns the only right one, if rounding leaves no other."""
    slack = 5e-6
    most, least = (probabilities_left(logits, wish, by) for by in (slack, -slack))
    assert most[token] > 0
    ends = least.cumsum() / least.sum()
    doubt = (most.sum() - least.sum()) / most.sum() + slack
    assert ends[token] - least[token] / least.sum() - doubt <= wish.draw <= ends[token] + doubt
    if np.array_equal(most, least) and np.abs(ends - wish.draw).min() > slack:
        return int(np.searchsorted(ends, wish.draw, side="right"))
    return None


KINDS = ("float32", "bfloat16", "float16", "ties", "barred", "large", "small", "zeros")


def random_logits(kind: str, vocabulary: int, random: torch.Generator) -> torch.Tensor:
    logits = torch.randn(vocabulary, generator=random) * 3
    if kind in ("bfloat16", "float16"):
        return logits.to(getattr(torch, kind)).float()
    if kind == "ties":
        return logits.round()
    if kind == "barred":
        logits[torch.rand(vocabulary, generator=random) < 0.4] = -INFINITY
        logits[int(torch.randint(vocabulary, (), generator=random))] = 1.0
    if kind == "zeros":
        return torch.where(logits > 0, 0.0, -0.0)
    return logits * {"large": 1e4, "small": 1e-30}.get(kind, 1.0)


WISHES = st.builds(
    Wish,
    temperature=st.sampled_from([1.0, 0.7, 1.6, 1e-30]),
    top_k=st.sampled_from([0, 0, 1, 3, 50, 1000, 2**40]),
    top_p=st.sampled_from([INFINITY, 0.9, 0.3, 0.999, 1e-3]),
    min_p=st.sampled_from([0.0, 0.0, 0.02, 0.5]),
    draw=st.floats(0, NEAR_ONE) | st.sampled_from([0.0, NEAR_ONE]),
)


def check(data: st.DataObject, vocabulary: int, num_rows: int, uses_kernel: bool) -> None:
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    kinds = [data.draw(st.sampled_from(KINDS)) for _ in range(num_rows)]
    logits = torch.stack([random_logits(kind, vocabulary, random) for kind in kinds])
    wishes = [data.draw(WISHES) for _ in kinds]
    drawn = by_torch(logits, wishes)
    tokens = by_kernel(logits, wishes) if uses_kernel else drawn
    for row, wish in enumerate(wishes):
        certain = certain_token(logits[row], wish, tokens[row])
        assert certain is None or tokens[row] == drawn[row] == certain


@settings(max_examples=100)
@given(st.data())
def test_the_function_draws_what_the_definition_says(data: st.DataObject) -> None:
    check(data, data.draw(st.sampled_from([1, 2, 7, 40, 1001])), 4, uses_kernel=False)


@pytest.mark.parametrize("vocabulary", [1, 7, 2048, 2500, 8192, 20_001])
@settings(max_examples=3)
@given(data=st.data())
def test_the_kernel_draws_what_the_definition_says(data: st.DataObject, vocabulary: int) -> None:
    check(data, vocabulary, 4, uses_kernel=True)


EXACT: list[tuple[list[float], Wish, int]] = [
    # Ties at a threshold all stay.
    ([2, 3, 1, 3, 3], Wish(top_k=1, draw=0.0), 1),
    ([2, 3, 1, 3, 3], Wish(top_k=1, draw=0.34), 3),
    ([2, 3, 1, 3, 3], Wish(top_k=2, draw=NEAR_ONE), 4),
    ([0, 0, 0, 0], Wish(top_p=0.3, draw=NEAR_ONE), 3),
    ([0, -0.0, 0, -0.0, -1], Wish(top_k=1, draw=NEAR_ONE), 3),
    ([0, 0, 0, 0], Wish(min_p=1.0, draw=0.5), 2),
    # Neighbouring floats are no ties.
    ([1 - 2**-24, 1 + 2**-23, 1], Wish(top_k=2, draw=0.0), 1),
    ([1 - 2**-24, 1 + 2**-23, 1], Wish(top_k=1, draw=NEAR_ONE), 1),
    ([-1 - 2**-23, -1 + 2**-24, -1], Wish(top_p=0.4, draw=0.0), 1),
    # Top-p counts what lies above: half of the probability is not less than half.
    ([0, -INFINITY, 0], Wish(top_p=0.5, draw=NEAR_ONE), 2),
    ([1, 9, 2, 8], Wish(top_p=0.6, draw=NEAR_ONE), 1),
    ([1, 9, 2, 8], Wish(top_p=1e-6, draw=0.0), 1),
    ([1, 9, 2, 8], Wish(top_p=0.8, draw=NEAR_ONE), 3),
    # It counts in what top-k leaves: there the first has 0.73, of all it has 0.43.
    ([2, 1, 0.99, 0.99, 0.99], Wish(top_k=2, top_p=0.7, draw=NEAR_ONE), 0),
    ([1, 9, 2, 8], Wish(top_k=2, draw=NEAR_ONE), 3),
    ([1, 9, 2, 8], Wish(top_k=4, draw=0.0), 0),
    ([1, 9, 2, 8], Wish(top_k=5, draw=NEAR_ONE), 3),
    ([1, 9, 2, 8], Wish(min_p=0.5, draw=NEAR_ONE), 1),
    ([1, 9, 2, 8.9999], Wish(temperature=1e-30, draw=NEAR_ONE), 1),
    ([1, 9, 2, 8], Wish(temperature=3e38, draw=NEAR_ONE), 3),
    ([1, 9, 2, -INFINITY], Wish(temperature=3e38, draw=NEAR_ONE), 2),
    # What has no probability is not drawn at the ends.
    ([-INFINITY, -200, 1, 1, -200], Wish(draw=0.0), 2),
    ([-INFINITY, -200, 1, 1, -INFINITY], Wish(draw=NEAR_ONE), 3),
    ([-INFINITY, -INFINITY, 1], Wish(top_k=2, top_p=0.9, draw=0.0), 2),
]


def test_tokens_on_the_edges_stay_or_go_as_defined() -> None:
    width = max(len(logits) for logits, _, _ in EXACT)
    rows = [logits + [-INFINITY] * (width - len(logits)) for logits, _, _ in EXACT]
    logits, wishes = torch.tensor(rows), [wish for _, wish, _ in EXACT]
    expected = [token for _, _, token in EXACT]
    assert by_torch(logits, wishes) == expected
    assert by_kernel(logits, wishes) == expected


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p", "temperature"),
    [(0, 1.0, 0.0, 1.0), (0, 0.6, 0.0, 1.3), (7, 0.8, 0.1, 0.9)],
)
def test_the_odds_are_those_of_transformers(
    top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(top_k))
    expected = odds_of_transformers(logits, top_k, top_p, min_p, temperature)

    share = top_p if top_p < 1 else INFINITY
    for draw, count in ((by_torch, 10_000), (by_kernel, 12)):
        # Evenly spaced draws give each token its share, but for one at each end of it.
        draws = (np.arange(count) + 0.5) / count
        wishes = [Wish(temperature, top_k, share, min_p, value) for value in draws.tolist()]
        tokens = draw(logits.expand(count, -1), wishes)
        odds = torch.bincount(torch.tensor(tokens), minlength=30) / count
        torch.testing.assert_close(odds, expected, atol=1.01 / count, rtol=0)
        assert not odds[expected == 0].any()


@pytest.mark.parametrize("wish", [Wish(draw=NEAR_ONE), Wish(0.7, 3, 0.9, 0.1)])
def test_logits_that_are_not_finite_still_give_a_token_of_the_vocabulary(wish: Wish) -> None:
    logits = torch.zeros(6, 50)
    logits[0, -1] = logits[1, 0] = float("nan")
    logits[2, 7] = INFINITY
    logits[3] = -INFINITY
    logits[4] = float("nan")
    logits[5] = INFINITY
    for tokens in (by_torch(logits, [wish] * 6), by_kernel(logits, [wish] * 6)):
        assert all(0 <= token < 50 for token in tokens)


def test_rows_that_want_no_draw_keep_what_stands_there() -> None:
    logits = torch.zeros(4, 9)
    logits[:, 5] = 50.0
    logits[3] = float("nan")
    broken = Wish(float("nan"), -1, float("nan"), float("nan"), float("nan"))
    tokens = by_kernel(logits, [broken, Wish(), Wish(), broken], [False, True, True, False])
    assert tokens == [POISON, 5, 5, POISON]
