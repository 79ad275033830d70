"""The full form of steering: each trait has layers and positions of its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.integration.asking import GREEDY, ask
from tests.integration.steered_alone import PlainSteering, answered_alone, same_but_for_ties
from tests.tiny_model import make_model, make_vectors
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import Addition, SteeringParameters
from triton_models.engine.engine import Engine

MODEL, VECTORS = make_model(), make_vectors()
PROMPT = [(7 * i + 3) % 256 for i in range(40)]
ANSWER = 12

STEERINGS = [
    SteeringParameters(),
    SteeringParameters(traits=(Addition("sarcasm", 0.7, (0, 3), "prompt"),)),
    SteeringParameters(traits=(Addition("sarcasm", 0.7, (0, 3), "response"),)),
    SteeringParameters(
        traits=(
            Addition("sarcasm", 0.7, (0, 3), "prompt"),
            Addition("flattery", 2.0, None, "response"),
        )
    ),
    SteeringParameters(
        {"sarcasm": 0.4},
        traits=(
            Addition("sarcasm", 0.3, (1,), "response"),
            Addition("helpfulness", -1.5, (0, 2), "all"),
        ),
    ),
    SteeringParameters(
        {"flattery": 2.0}, positions="response", traits=(Addition("flattery", -2.0, None, "all"),)
    ),
]


def answers(engine: Engine, steerings: Sequence[SteeringParameters]) -> list[list[int]]:
    """Asks at once, and checks every answer against the one alone."""
    asked = [ask(engine, GenerationRequest(each, GREEDY, ANSWER), PROMPT) for each in steerings]
    got = [answer.tokens() for answer in asked]
    for steering, tokens in zip(steerings, got, strict=True):

        def plain(steering: SteeringParameters = steering) -> PlainSteering:
            return PlainSteering(steering, VECTORS, len(PROMPT))

        expected = answered_alone(MODEL, plain(), PROMPT, ANSWER)
        assert same_but_for_ties(MODEL, plain(), PROMPT, expected, tokens), steering
    return got


def test_traits_are_added_at_their_own_layers_and_positions(engine: Engine) -> None:
    got = answers(engine, STEERINGS)
    assert len({tuple(tokens) for tokens in got}) >= len(STEERINGS) - 1


@pytest.mark.parametrize("shares", [True, False])
def test_prompts_share_what_is_added_to_them_whatever_is_added_to_responses(
    engine: Engine, shares: bool
) -> None:
    scalar, beginning = (0.6 if shares else 0.61), Addition("sarcasm", 0.6, (0, 2), "prompt")
    first = SteeringParameters(traits=(beginning, Addition("flattery", 3.0, None, "response")))
    second = SteeringParameters(
        {"helpfulness": 1.0}, positions="response", traits=(Addition("sarcasm", scalar, (0, 2)),)
    )
    answers(engine, [first])
    before = engine.statistics.reused_tokens
    answers(engine, [second])
    assert engine.statistics.reused_tokens - before == (len(PROMPT) - 1 if shares else 0)
