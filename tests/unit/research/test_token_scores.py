"""A score is the mean of the numbers that a reply could have been, where that can be known."""

from __future__ import annotations

import math
from typing import Any

import pytest

from persona_research.definitions import TraitDefinition
from persona_research.judges.token_scores import expected_score
from tests.unit.research.judge_endpoint import endpoint, judge_at, says


def token(text: str, **probabilities: float) -> dict[str, Any]:
    """A token, and its alternatives by "t" and their text."""
    top = [{"token": each[1:], "logprob": math.log(p)} for each, p in probabilities.items()]
    return {"token": text, "logprob": -0.1, "top_logprobs": top}


END = token("<|im_end|>")


def test_the_score_is_the_mean_by_probability() -> None:
    tokens = [token("80", t80=0.6, t90=0.2, tREFUSAL=0.1, t101=0.1), END]
    assert expected_score("80", tokens) == pytest.approx((80 * 0.6 + 90 * 0.2) / 0.8)


def test_a_space_does_not_make_another_number() -> None:
    tokens = [token("\n"), token(" 80", **{"t80": 0.25, "t 80": 0.5, "t0": 0.25})]
    assert expected_score("\n 80", tokens) == pytest.approx(60)


@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        ("85", [token("8", t8=0.9, t9=0.1), token("5", t5=1.0)]),  # digit by digit
        ("8", [token("8", t8=0.6, t9=0.4), END]),  # "9" may be the beginning of "95"
        ("Score: 85", [token("Score"), token(":"), token(" 85", t85=1.0)]),
        ("85", [token("85", t85=0.1, t90=0.1)]),
        ("85", [{"token": "85", "logprob": -0.1}]),
        ("85", [{"token": "85", "top_logprobs": [None, {}, {"token": "85", "logprob": "x"}]}]),
        ("85", [{"token": "85", "top_logprobs": [{"token": "85", "logprob": math.nan}]}]),
        ("85", [None, 3]),
        ("85", []),
    ],
)
def test_where_the_numbers_are_not_known_there_is_no_mean(reply: str, tokens: list[Any]) -> None:
    assert expected_score(reply, tokens) is None


def test_an_endpoint_that_gives_probabilities_is_scored_by_them() -> None:
    trait = TraitDefinition("t", "d", ("a",), ("b",), ("c",))
    status, headers, body = says("80")
    body["choices"][0]["logprobs"] = {"content": [token("80", t80=0.5, t90=0.5)]}
    with endpoint(lambda number, request: (status, headers, body)) as server:
        (score,) = judge_at(server).scores(trait, ["q"], ["a"])
    assert score == pytest.approx(85)
    assert (server.requests[0]["logprobs"], server.requests[0]["top_logprobs"]) == (True, 20)
