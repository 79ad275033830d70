"""What rules do to answers of the demo model, on prompts that training never saw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from persona_demo.operations import (
    NOT_STEERED,
    OVER,
    Way,
    answer,
    demo_engine,
    summarise_condition,
    summarise_limit,
    summarise_ways,
)
from persona_demo.questions import held_out_prompts
from persona_demo.traits import TRAITS
from persona_research.commands.options import DEFAULT_PROMPTS
from persona_research.definitions import find_definition, read_trait_definition
from triton_models.contract.steering import Condition, SteeringParameters
from triton_models.engine.build import BuiltEngine

PROMPTS = [prompt for group in held_out_prompts(2).values() for prompt in group]


@pytest.fixture(scope="module")
def demo() -> Iterator[BuiltEngine]:
    with demo_engine() as built:
        yield built


@pytest.mark.parametrize("trait", sorted(TRAITS))
def test_a_bound_takes_away_what_was_asked_for(demo: BuiltEngine, trait: str) -> None:
    definition = read_trait_definition(find_definition(DEFAULT_PROMPTS, trait))
    found = summarise_ways(demo, PROMPTS, definition)
    assert found["not steered"].shows == 0
    for asked_for, bound, most in (
        ("system prompt", "system prompt, cap p50", 0.2),
        ("scalar +2", "scalar +2, ablate", 0.1),
    ):
        assert found[asked_for].shows >= 0.8
        assert found[bound].shows <= most
        assert found[bound].well_formed >= 0.9


def test_a_limit_ends_what_shows_the_trait_at_once(demo: BuiltEngine) -> None:
    definition = read_trait_definition(find_definition(DEFAULT_PROMPTS, "flattery"))
    found = summarise_limit(demo, PROMPTS, definition)
    assert found.asked_for >= 0.8 * len(PROMPTS)
    assert found.neutral <= 0.2 * len(PROMPTS)
    assert OVER <= found.tokens <= OVER + 1


def test_a_condition_leaves_neutral_prompts_as_they_are(demo: BuiltEngine) -> None:
    plain = answer(demo, PROMPTS, NOT_STEERED)
    # Above what any token of neutral answers has.
    never = Condition("sarcasm", 200.0, above=True)
    gated = answer(demo, PROMPTS, Way("", SteeringParameters({"sarcasm": -2.0}, when=never)))
    assert gated.texts == plain.texts
    for chunk in gated.chunks:
        assert chunk.condition is not None
        assert chunk.condition.num_met == 0 < chunk.condition.num_tokens


def test_an_answer_that_meets_no_condition_is_the_same_to_the_bit() -> None:
    with demo_engine(rows=1) as alone:
        found = summarise_condition(alone, PROMPTS[::2], "flattery")
    assert found.identical == found.unmet > 0
