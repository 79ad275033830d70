"""How many prompt tokens a step may compute follows what the machine was seen to take for them."""

from __future__ import annotations

from typing import Any

import pytest

from triton_models.engine.prompt_pace import MAX_TOKENS, MIN_TOKENS, PromptPace
from triton_models.engine.scheduler import Plan, Slice


def step(prompt_tokens: int, generating: int = 0) -> Plan:
    sequence: Any = None
    slices = (Slice(sequence, 0, prompt_tokens, True),) if prompt_tokens else ()
    return Plan(generating=[sequence] * generating, prompts=slices)


def settled(tokens: int, seconds: float) -> PromptPace:
    pace = PromptPace()
    for _ in range(50):
        pace.measured(step(tokens), seconds)
    return pace


def test_before_anything_is_measured_answers_are_held_up_as_little_as_possible() -> None:
    assert PromptPace().budget(anything_generates=True) == MIN_TOKENS


@pytest.mark.parametrize(
    ("seconds_per_token", "beside", "alone"),
    [(0.01, MIN_TOKENS, 100), (0.001, 150, 1000), (0.00001, MAX_TOKENS, MAX_TOKENS)],
)
def test_chunks_are_as_long_as_the_machine_is_fast(
    seconds_per_token: float, beside: int, alone: int
) -> None:
    pace = settled(100, 100 * seconds_per_token)
    assert pace.budget(anything_generates=True) == pytest.approx(beside, abs=1)
    assert pace.budget(anything_generates=False) == pytest.approx(alone, abs=1)


def test_steps_of_few_prompt_tokens_say_nothing_about_prompts() -> None:
    pace = settled(100, 0.1)
    pace.measured(step(1), 0.06)
    pace.measured(step(0, generating=256), 0.2)
    pace.measured(step(8, generating=64), 0.2)
    assert pace.seconds_per_token == pytest.approx(0.001)


def test_a_budget_that_was_set_is_kept() -> None:
    pace = PromptPace(fixed=16)
    pace.measured(step(1000), 0.001)
    assert {pace.budget(anything_generates=each) for each in (True, False)} == {16}
