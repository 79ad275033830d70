"""What a policy enforces holds for every token, whatever a request says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.asking import GREEDY, ask
from tests.integration.reference import NEAR_TIE
from tests.tiny_model import make_vectors
from triton_models.contract.errors import EnforcementError, InvalidArgumentError
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import (
    MAX_ENFORCED_OPERATIONS,
    MAX_OPERATIONS,
    Addition,
    Condition,
    Enforced,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.engine.engine import Engine

PROMPT = [(11 * i + 5) % 256 for i in range(60)]
BLOCK = make_vectors()["sarcasm"].selected_blocks[0]
PIN = Operation("sarcasm", "pin", 3.0, layers=(BLOCK,))
"""Where the projection is known, whatever was done to it before."""
PUSH = (Addition("sarcasm", 4.0, (BLOCK,)),)
NEVER = Condition("sarcasm", 1e6, above=True)


def mean_of(engine: Engine, steering: SteeringParameters) -> float:
    """Returns the mean projection of an answer's tokens."""
    request = GenerationRequest(steering, GREEDY, 8, monitor=("sarcasm",), ignore_eos=True)
    (chunk,) = ask(engine, request, PROMPT).all()
    assert chunk.readouts is not None
    return chunk.readouts["sarcasm"][BLOCK]


@pytest.mark.parametrize(
    "asked",
    [
        SteeringParameters(),
        SteeringParameters({"sarcasm": 4.0}),
        SteeringParameters(operations=(Operation("sarcasm", "pin", 9.0, layers=(BLOCK,)),)),
        SteeringParameters(traits=PUSH, when=NEVER),
        SteeringParameters(traits=PUSH, window=Window(0, 1)),
        SteeringParameters(traits=PUSH, window=Window(2, 6, 4), when=NEVER),
        SteeringParameters(traits=(Addition("sarcasm", 4.0, None, "prompt"),)),
        SteeringParameters(
            operations=(Operation("sarcasm", "floor", 9.0, layers=(BLOCK,)),) * MAX_OPERATIONS
        ),
    ],
    ids=["nothing", "more", "pin", "never", "one token", "both", "prompt", "full"],
)
def test_no_request_loosens_what_is_enforced(engine: Engine, asked: SteeringParameters) -> None:
    free = mean_of(engine, asked)
    held = mean_of(engine, replace(asked, enforced=Enforced((PIN,) * MAX_ENFORCED_OPERATIONS)))
    assert free != pytest.approx(3.0, abs=NEAR_TIE)
    assert held == pytest.approx(3.0, abs=NEAR_TIE)


def test_what_a_request_asks_for_is_not_enforced_along_with_it(engine: Engine) -> None:
    own = SteeringParameters(traits=PUSH, operations=(PIN,), when=NEVER)
    loose = Enforced((Operation("sarcasm", "cap", 1e6, layers=(BLOCK,)),))
    expected = mean_of(engine, SteeringParameters())
    assert mean_of(engine, replace(own, enforced=loose)) == pytest.approx(expected, abs=NEAR_TIE)


def test_prompts_computed_under_enforcement_are_apart(engine: Engine) -> None:
    def reused(steering: SteeringParameters) -> int:
        (chunk,) = ask(engine, GenerationRequest(steering, GREEDY, 4), [9, *PROMPT]).all()
        return chunk.num_reused_tokens

    asked, enforced = SteeringParameters(operations=(PIN,)), Enforced((PIN,))
    assert reused(asked) == 0
    assert reused(SteeringParameters(enforced=enforced)) == 0
    assert reused(SteeringParameters(traits=PUSH, enforced=enforced)) == 0
    assert reused(SteeringParameters(enforced=enforced)) == len(PROMPT)


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (Operation("x", "ablate"), "unknown trait 'x'"),
        (Operation("sarcasm", "cap", 90.0, "percentile"), "calibrat"),
        (Operation("sarcasm", "cap", 1.0, layers=(99,)), r"no layers \[99\]"),
        (Operation("sarcasm", "cap", 1e30), "overflows float32"),
    ],
)
def test_what_cannot_be_enforced_is_no_answer(
    engine: Engine, operation: Operation, reason: str
) -> None:
    steering = SteeringParameters(enforced=Enforced((operation,)))
    with pytest.raises(EnforcementError, match=f"policy enforces cannot be applied: .*{reason}"):
        ask(engine, GenerationRequest(steering, GREEDY, 4), PROMPT)


def test_an_addition_that_reaches_no_token_is_refused_all_the_same(engine: Engine) -> None:
    """One token is chosen from the prompt, which `response` does not steer."""
    steering = SteeringParameters({"sarcasm": 1.0}, positions="response", enforced=Enforced((PIN,)))
    with pytest.raises(InvalidArgumentError, match="an answer of 1 tokens cannot be steered"):
        ask(engine, GenerationRequest(steering, GREEDY, 1), PROMPT)


def test_more_than_fit_at_a_block_are_refused_each_by_its_own_count(engine: Engine) -> None:
    bounds = (Operation("sarcasm", "cap", 1.0),) * (MAX_ENFORCED_OPERATIONS + 1)
    steering = SteeringParameters(enforced=Enforced(bounds))
    with pytest.raises(EnforcementError, match="5 operations at layer"):
        ask(engine, GenerationRequest(steering, GREEDY, 4), PROMPT)
