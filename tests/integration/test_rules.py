"""Operations, conditions and windows do what their formulas say, to their own rows only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.integration.asking import GREEDY, ask
from tests.integration.stepping import NUM_ROWS, generate, make_runner, make_sequence, start
from tests.integration.test_steering_in_a_batch import capture
from tests.tiny_model import HIDDEN_SIZE, NUM_LAYERS
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import (
    Addition,
    Condition,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.engine.engine import Engine
from triton_models.model.loading import LoadedModel, load_model
from triton_models.settings import ServerSettings
from triton_models.steering.bounded_projections import BoundedProjection, Gate
from triton_models.steering.row_steering import RowSteering

BLOCK = 1
INFINITY = float("inf")
PROMPT = [(11 * i + 5) % 256 for i in range(60)]


@pytest.fixture
def loaded(tiny_model_folder: Path) -> LoadedModel:
    return load_model(tiny_model_folder, ServerSettings(device="cpu", dtype="float32"))


def unit(seed: int) -> torch.Tensor:
    drawn = torch.randn(HIDDEN_SIZE, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=0)


V = unit(0)
U = torch.nn.functional.normalize(unit(1) - (unit(1) @ V) * V, dim=0)
"""At a right angle to V."""


def bounded(low: float, high: float, strength: float = 1.0) -> RowSteering:
    return RowSteering(operations={BLOCK: (BoundedProjection(V, low, high, strength),)})


def states(
    loaded: LoadedModel, steerings: list[RowSteering]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Computes prompts and two tokens of rows.

    Returns:
        For each block of each step its output [tokens, hidden size] before and after steering.
    """
    for block in loaded.model.blocks:
        block._forward_hooks.clear()  # those of another runner
    runner = make_runner(loaded)
    before, after = capture(loaded)
    sequences = [make_sequence(row, each) for row, each in enumerate(steerings)]
    start(runner, sequences)
    generate(runner, sequences)
    generate(runner, sequences)
    return before, after


@pytest.mark.parametrize(
    ("steering", "meant"),
    [
        (bounded(0.0, 0.0), torch.zeros_like),
        (bounded(-INFINITY, 0.1), lambda p: p.clamp(max=0.1)),
        (bounded(0.2, INFINITY), lambda p: p.clamp(min=0.2)),
        (bounded(2.0, 2.0), lambda p: torch.full_like(p, 2.0)),
        (bounded(2.0, 2.0, 0.25), lambda p: p + 0.25 * (2.0 - p)),
    ],
    ids=["ablate", "cap", "floor", "pin", "a quarter of a pin"],
)
def test_projections_are_as_the_operation_says(
    loaded: LoadedModel, steering: RowSteering, meant: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    before, after = states(loaded, [steering] * 3)
    for old, new in zip(before[BLOCK::NUM_LAYERS], after[BLOCK::NUM_LAYERS], strict=True):
        rounding = 1e-6 * float(old.norm(dim=1).max())
        torch.testing.assert_close(new @ V, meant(old @ V), atol=rounding, rtol=0)
        torch.testing.assert_close(new @ U, old @ U, atol=rounding, rtol=0)
        changed = new - old
        along = (changed @ V)[:, None] * V
        torch.testing.assert_close(changed, along, atol=rounding, rtol=0)
    projections = torch.cat([old @ V for old in before[BLOCK::NUM_LAYERS]])
    assert float(projections.std()) > 0.01  # there is something to bound


def test_half_precision_bounds_to_its_own_rounding(tiny_model_folder: Path) -> None:
    settings = ServerSettings(device="cpu", dtype="bfloat16", cpu_packing=False)
    _, after = states(load_model(tiny_model_folder, settings), [bounded(2.0, 2.0)] * 3)
    for new in after[BLOCK::NUM_LAYERS]:
        assert new.dtype == torch.bfloat16
        rounding = 2**-8 * float(new.float().norm(dim=1).max())
        expected = torch.full((len(new),), 2.0)
        torch.testing.assert_close(new.float() @ V, expected, atol=rounding, rtol=0)


def test_operations_of_a_block_apply_in_their_order_after_the_additions(
    loaded: LoadedModel,
) -> None:
    pin, cap = BoundedProjection(V, 3.0, 3.0, 1.0), BoundedProjection(V, -INFINITY, 1.0, 1.0)
    delta = {BLOCK: 50 * V}
    steerings = [
        RowSteering(delta, delta, {BLOCK: operations})
        for operations in ((pin, cap), (cap, pin), (cap,), (BoundedProjection(U, 2.0, 2.0, 1.0),))
    ]
    before, after = states(loaded, steerings)
    ends = [1.0, 3.0, 1.0]
    old, new = (each[BLOCK + NUM_LAYERS] for each in (before, after))
    assert (new @ V)[:3].tolist() == pytest.approx(ends, abs=1e-4)
    assert (new @ U)[3] == pytest.approx(2.0, abs=1e-4)
    # What is at a right angle to an operation's direction is only added to.
    assert (new @ V)[3] == pytest.approx(float((old @ V)[3]) + 50, abs=1e-4)


def test_a_condition_that_never_holds_leaves_a_row_bit_identical(loaded: LoadedModel) -> None:
    delta = {block: torch.full((HIDDEN_SIZE,), 9.0) for block in range(NUM_LAYERS)}
    operation = {BLOCK: (BoundedProjection(V, 5.0, 5.0, 1.0),)}
    never, always = Gate(0, V, 1e6), Gate(0, V, -1e6)
    _, plain = states(loaded, [RowSteering()] * NUM_ROWS)
    mixed = [RowSteering(delta, delta, operation, gate) for gate in (never, always)] * 3
    _, gated = states(loaded, mixed)
    for one, other in zip(plain, gated, strict=True):
        one, other = (each.view(NUM_ROWS, -1, HIDDEN_SIZE) for each in (one, other))
        assert torch.equal(one[::2], other[::2])
        assert not torch.equal(one[1::2], other[1::2])


def test_rows_without_rules_are_bit_identical_beside_rows_with_them(loaded: LoadedModel) -> None:
    added = RowSteering.adding({BLOCK: 3 * V})
    _, plain = states(loaded, [added, RowSteering()] * 3)
    _, mixed = states(loaded, [added, RowSteering(), bounded(7.0, 7.0)] * 2)
    for one, other in zip(plain, mixed, strict=True):
        one, other = (each.view(NUM_ROWS, -1, HIDDEN_SIZE) for each in (one, other))
        assert torch.equal(one[:2], other[:2])


def test_a_released_row_keeps_no_rules(loaded: LoadedModel) -> None:
    runner = make_runner(loaded)
    _, after = capture(loaded)
    every = RowSteering({BLOCK: V}, {BLOCK: U}, {BLOCK: (BoundedProjection(V, 9, 9, 1),)})
    gated = RowSteering(every.prompt, every.response, every.operations, Gate(0, V, -1e6), Window(1))
    start(runner, [make_sequence(0, RowSteering())])
    for steering in (every, gated):
        start(runner, [make_sequence(0, steering)])
        runner.release(0)
    start(runner, [make_sequence(0, bounded(-INFINITY, INFINITY))])
    first, last = after[:NUM_LAYERS], after[-NUM_LAYERS:]
    for one, other in zip(first, last, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


CAP = Operation("sarcasm", "cap", 0.2)
ADDITION = Addition("sarcasm", 0.5, None, "response")


PAIRS = [
    (SteeringParameters(operations=(CAP,)), SteeringParameters(operations=(CAP,)), True),
    (
        SteeringParameters(operations=(CAP,)),
        SteeringParameters(operations=(CAP,), traits=(ADDITION,), window=Window(2, 5)),
        True,
    ),
    (
        SteeringParameters(),
        SteeringParameters(traits=(ADDITION,), when=Condition("sarcasm", 0.0, True)),
        True,
    ),
    (
        SteeringParameters(operations=(CAP,)),
        SteeringParameters(operations=(Operation("sarcasm", "cap", 0.3),)),
        False,
    ),
    (
        SteeringParameters(operations=(CAP,)),
        SteeringParameters(operations=(CAP,), when=Condition("sarcasm", 0.0, True)),
        False,
    ),
]


@pytest.mark.parametrize("pair", range(len(PAIRS)))
def test_prompts_share_what_the_same_rules_have_made(engine: Engine, pair: int) -> None:
    first, second, shares = PAIRS[pair]
    prompt = [pair, *PROMPT]  # shares nothing with other pairs
    reused = []
    for steering in (first, second):
        before = engine.statistics.reused_tokens
        ask(engine, GenerationRequest(steering, GREEDY, 8), prompt).all()
        reused.append(engine.statistics.reused_tokens - before)
    assert reused == [0, len(prompt) - 1 if shares else 0]


def test_a_window_that_no_token_reaches_is_refused(engine: Engine) -> None:
    def request(start: int, max_tokens: int) -> GenerationRequest:
        steering = SteeringParameters({"sarcasm": 1.0}, window=Window(start))
        return GenerationRequest(steering, GREEDY, max_tokens)

    assert len(ask(engine, request(3, 5), [1, 2, 3]).tokens()) == 5
    with pytest.raises(InvalidArgumentError, match="begins at generated token 4, and of an answer"):
        ask(engine, request(4, 5), [1, 2, 3])


def test_an_answer_says_how_often_its_condition_was_met(engine: Engine) -> None:
    def tally(when: Condition | None) -> tuple[int, int] | None:
        steering = SteeringParameters({"sarcasm": 0.5}, when=when)
        (chunk,) = ask(engine, GenerationRequest(steering, GREEDY, 9), PROMPT).all()
        found = chunk.condition
        return None if found is None else (found.num_tokens, found.num_met)

    assert tally(None) is None
    assert tally(Condition("sarcasm", 1e6, above=True)) == (8, 0)
    assert tally(Condition("sarcasm", 1e6, above=False)) == (8, 8)


def test_a_trait_that_is_bounded_counts_as_steered(engine: Engine) -> None:
    def count() -> int:
        return engine.statistics.steered_requests.get("helpfulness", 0)

    before = count()
    for strength in (1.0, 0.0):
        operation = Operation("helpfulness", "ablate", strength=strength)
        steering = SteeringParameters(operations=(operation,))
        ask(engine, GenerationRequest(steering, GREEDY, 2), PROMPT).all()
    assert count() == before + 1
