"""Operations, conditions and windows in mixed batches: each request answers as it does alone.

Invariant 1 of the design for all that steering can be, drawn by hypothesis and compared with
`generate` under plain hooks that do the same arithmetic.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.integration.asking import GREEDY, Answer, ask
from tests.integration.reference import NEAR_TIE
from tests.integration.steered_alone import PlainSteering, answered_alone, same_but_for_ties
from tests.tiny_model import make_model, make_vectors
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import (
    OPERATION_KINDS,
    POSITIONS,
    Addition,
    Condition,
    Enforced,
    Operation,
    SteeringParameters,
    Window,
)
from triton_models.engine.engine import Engine

MODEL, VECTORS = make_model(), make_vectors()
BEGINNINGS = [[(7 * i + 3 * k) % 256 for i in range(40)] for k in range(2)]
VARIANTS: dict[str, dict[str, Any]] = {
    "reusing nothing": {"prefix_reuse": False, "overlap": "off"},
    "overlapping in little room": {"overlap": "on", "kv_cache_tokens": 300},
}


@dataclass(frozen=True)
class Case:
    """A drawn request."""

    steering: SteeringParameters
    prompt: tuple[int, ...]
    max_tokens: int

    @property
    def steers_response(self) -> bool:
        """Whether any generated token may be steered."""
        steering = self.steering
        bounds = (*steering.operations, *steering.enforced.operations)
        return any(
            each.positions != "prompt" and each.scalar for each in steering.additions
        ) or any(each.strength for each in bounds)

    def plain(self) -> PlainSteering:
        return PlainSteering(self.steering, VECTORS, len(self.prompt))


def bounds() -> st.SearchStrategy[float]:
    return st.integers(-40, 40).map(lambda tenths: tenths / 10)


def of_a_trait() -> st.SearchStrategy[tuple[str, tuple[int, ...] | None]]:
    """Draws a trait and layers that its vector has."""
    return st.sampled_from(sorted(VECTORS)).flatmap(
        lambda trait: st.tuples(
            st.just(trait),
            st.none()
            | st.sets(st.sampled_from(sorted(VECTORS[trait].blocks)), min_size=1).map(
                lambda blocks: tuple(sorted(blocks))
            ),
        )
    )


@st.composite
def additions(draw: st.DrawFn) -> Addition:
    trait, layers = draw(of_a_trait())
    return Addition(trait, draw(bounds()) / 4, layers, draw(st.sampled_from(POSITIONS)))


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    trait, layers = draw(of_a_trait())
    kind = draw(st.sampled_from(OPERATION_KINDS))
    value = 0.0 if kind == "ablate" else draw(bounds())
    strength = draw(st.sampled_from([1.0, 1.0, 0.5, 0.0]))
    return Operation(trait, kind, value, strength=strength, layers=layers)


@st.composite
def windows(draw: st.DrawFn, max_tokens: int) -> Window:
    start = draw(st.integers(0, min(max_tokens - 2, 6)))
    end = draw(st.none() | st.integers(start + 1, start + 8))
    return Window(start, end, 0 if end is None else draw(st.integers(0, end - start)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    max_tokens = draw(st.integers(2, 14))
    steering = SteeringParameters(
        traits=tuple(draw(st.lists(additions(), max_size=2))),
        operations=tuple(draw(st.lists(operations(), max_size=4))),
    )
    plain = PlainSteering(steering, VECTORS, 0)
    when = window = None
    if Case(steering, (), 0).steers_response and draw(st.booleans()):
        window = draw(windows(max_tokens))
    if bool(plain.asked_blocks) and draw(st.booleans()):
        trait = draw(st.sampled_from(["sarcasm", "maliciousness"]))  # they have every block
        layer = draw(st.none() | st.integers(0, plain.first_block))
        when = Condition(trait, draw(bounds()), draw(st.booleans()), layer=layer)
    enforced = Enforced(tuple(draw(st.lists(operations(), max_size=2))))
    steering = dataclasses.replace(steering, when=when, window=window, enforced=enforced)
    shared = draw(st.sampled_from(BEGINNINGS))[: draw(st.sampled_from([0, 3, 20, 40]))]
    tail = draw(st.lists(st.integers(0, 255), min_size=1, max_size=5))
    return Case(steering, (*shared, *tail), max_tokens)


@pytest.mark.parametrize("drawn_engine", list(VARIANTS.values()), ids=list(VARIANTS), indirect=True)
@hypothesis_settings(
    max_examples=15,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes longer than a look at the case
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batch=st.lists(cases(), min_size=1, max_size=8))
def test_any_batch_gives_each_request_what_it_gives_alone(
    drawn_engine: Engine, batch: list[Case]
) -> None:
    asked = [
        ask(
            drawn_engine,
            GenerationRequest(case.steering, GREEDY, case.max_tokens),
            list(case.prompt),
        )
        for case in batch
    ]
    for case, answer in zip(batch, asked, strict=True):
        check(case, answer)


def check(case: Case, answer: Answer) -> None:
    """Checks an answer's tokens, and what it says of its condition."""
    (chunk,) = answer.all()
    assert not chunk.error, case
    plain, prompt = case.plain(), list(case.prompt)
    expected = answered_alone(MODEL, plain, prompt, case.max_tokens)
    if plain.margin < NEAR_TIE:  # a projection so near its bound is as well on the other side
        return
    got = list(chunk.token_ids)
    assert same_but_for_ties(MODEL, case.plain(), prompt, expected, got), case
    if case.steering.when is None:
        assert chunk.condition is None
    elif got == expected:
        assert chunk.condition is not None
        met = [bool(gate) for gates in plain.met[1:] for gate in gates if case.steers_response]
        counted = chunk.condition.num_tokens, chunk.condition.num_met
        assert counted == (len(met), sum(met)), case
