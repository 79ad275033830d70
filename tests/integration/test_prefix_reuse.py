"""A prompt's beginning is computed once for all requests that may share it, and for no others."""

from __future__ import annotations

import pytest

from tests.integration.asking import GREEDY, ask
from tests.integration.reference import agree, generate_alone
from tests.integration.test_engine_against_generate import deltas
from tests.tiny_model import make_model
from triton_models.contract.request import GenerationRequest
from triton_models.contract.steering import SteeringParameters
from triton_models.engine.build import build_engine
from triton_models.engine.engine import Engine
from triton_models.settings import ServerSettings

PROMPT = [(11 * i + 5) % 256 for i in range(60)]
ANSWER = 12
MODEL = make_model()


def ask_all(
    engine: Engine, steerings: list[SteeringParameters], prompt: list[int]
) -> list[list[int]]:
    """Asks at once, checks every answer against the one alone, and returns the answers."""
    requests = [GenerationRequest(steering, GREEDY, ANSWER) for steering in steerings]
    answers = [ask(engine, request, prompt) for request in requests]
    tokens = [answer.tokens() for answer in answers]
    for request, got in zip(requests, tokens, strict=True):
        steered = (deltas(request), request.steering.positions)
        expected = generate_alone(MODEL, prompt, ANSWER, *steered)
        assert agree(MODEL, prompt, expected, got, *steered), request.steering
    return tokens


def computed(engine: Engine) -> tuple[int, int]:
    """Returns how many prompt tokens were computed and how many reused."""
    return engine.statistics.prompt_tokens, engine.statistics.reused_tokens


def test_a_sweep_over_the_response_computes_its_prompt_once(fresh_engine: Engine) -> None:
    sweep = [SteeringParameters({"sarcasm": i / 10}, positions="response") for i in range(-6, 6)]
    answers = ask_all(fresh_engine, sweep, PROMPT)
    assert computed(fresh_engine) == (60 + 11, 11 * 59)
    assert len({tuple(answer) for answer in answers}) > 3


def test_the_unsteered_share_with_those_steered_in_the_response(fresh_engine: Engine) -> None:
    ask_all(
        fresh_engine,
        [SteeringParameters(), SteeringParameters({"flattery": 2.0}, positions="response")],
        PROMPT,
    )
    assert computed(fresh_engine) == (61, 59)


def test_prompts_steered_differently_share_nothing(fresh_engine: Engine) -> None:
    steerings = [
        SteeringParameters(),
        SteeringParameters({"sarcasm": 0.7}),
        SteeringParameters({"sarcasm": -0.7}),
        SteeringParameters({"sarcasm": 0.7}, layers=(0, 3)),
        SteeringParameters({"flattery": 2.0}, positions="prompt"),
    ]
    ask_all(fresh_engine, steerings, PROMPT)
    assert computed(fresh_engine) == (5 * 60, 0)


def test_prompts_steered_alike_share(fresh_engine: Engine) -> None:
    steerings = [
        SteeringParameters({"sarcasm": 0.7}),
        SteeringParameters({"sarcasm": 0.7}, positions="prompt"),
        SteeringParameters({"sarcasm": 0.35 + 0.35}, layers=(0, 1, 2, 3)),
    ]
    ask_all(fresh_engine, steerings, PROMPT)
    assert computed(fresh_engine) == (60 + 2, 2 * 59)


@pytest.mark.parametrize(
    ("steering", "of_answer"),
    [
        (SteeringParameters(), ANSWER - 1),
        (SteeringParameters({"sarcasm": 0.7}), ANSWER - 1),
        (SteeringParameters({"sarcasm": 0.7}, positions="prompt"), 0),
        (SteeringParameters({"sarcasm": 0.7}, positions="response"), 0),
    ],
)
def test_a_conversation_goes_on_from_what_may_be_reused_of_it(
    fresh_engine: Engine, steering: SteeringParameters, of_answer: int
) -> None:
    (answer,) = ask_all(fresh_engine, [steering], PROMPT)
    ask_all(fresh_engine, [steering], [*PROMPT, *answer, 1, 2, 3])
    assert fresh_engine.statistics.reused_tokens == 60 + of_answer


def test_a_cancelled_or_failed_beginning_is_computed_by_who_waited_for_it(
    settings: ServerSettings,
) -> None:
    engine = build_engine(settings.model_copy(update={"prefill_chunk": 16})).engine
    first = engine.submit(GenerationRequest(sampling=GREEDY), PROMPT, lambda _: None)
    second = ask(engine, GenerationRequest(sampling=GREEDY, max_tokens=ANSWER), PROMPT)
    engine.cancel(first)
    engine.start()
    assert second.tokens() == generate_alone(MODEL, PROMPT, ANSWER, {})
    engine.stop(0)


def test_reuse_can_be_turned_off(settings: ServerSettings) -> None:
    engine = build_engine(settings.model_copy(update={"prefix_reuse": False})).engine
    engine.start()
    ask_all(engine, [SteeringParameters(), SteeringParameters()], PROMPT)
    ask_all(engine, [SteeringParameters()], PROMPT)
    assert computed(engine) == (180, 0)
    engine.stop(0)
