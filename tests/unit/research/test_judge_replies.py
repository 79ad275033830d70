"""A judge's reply is read as a score only where it clearly is one: never as another number."""

from __future__ import annotations

import pytest

from persona_research.judges.rubric import parse_score


@pytest.mark.parametrize(
    "reply",
    [
        "85",
        "85.",
        "85.0",
        "**85**",
        "`85`",
        '"85"',
        "# 85",
        "> 85",
        "85%",
        "85/100",
        "85 / 100",
        "85 out of 100",
        "Score: 85",
        "score=85",
        "**Score:** 85",
        "**Score**: **85**/100",
        "### Score\n\nScore: 85",
        "The score is 85",
        "The score is: **85**.",
        "Final rating: 85",
        "I would give this answer a score of 85.",
        "My final answer is 85",
        '{"score": 85}',
        '{"score": "85"}',
        '{"reason": "It mocks, 3 times.", "score": 85}',
        '```json\n{"Score": 85}\n```',
        "<think>3 of 4 sentences</think>85",
        "3 of 4 sentences</think>\n\nScore: 85",
        "85, because it mocks",
        "85 because it mocks",
        "85 (strongly)",
        "85\n\nIt mocks throughout.",
        "85 \u2014 it mocks",
        "Score: 85. It mocks.",
        "Score: 85\nIt mocks.",
        "3 of 4 sentences are sarcastic.\n\n**Score:** 85",
    ],
)
def test_what_clearly_is_a_score_is_read(reply: str) -> None:
    assert parse_score(reply) == 85


@pytest.mark.parametrize(
    "reply",
    [
        "0-100 scale: 85",
        "0 to 100: 85",
        "On a scale of 0 to 100, 85",
        "1. 85",
        "1) 85",
        "1. The answer mocks.",
        "3 of 4 sentences are sarcastic, so 75",
        "3 of the sentences are sarcastic",
        "3 sentences are sarcastic, so it is high",
        "Answer: 3 sentences are sarcastic",
        "Sarcastic sentences: 3",
        "Confidence: 90",
        "70-80",
        "70\u201380",
        "Score: 70-80",
        "Score: 70 to 80",
        "Score: 3 out of 5",
        "Score: 8/10",
        "80, maybe 90",
        "Score: 80, or 90",
        "Score: 80\nScore: 90",
        "Not a score of 85",
        "8*5",
        "8_5",
        "~85",
        "-85",
        "+85",
        "1e2",
        "85th",
        "Score: 850",
        "Score: 85.5.5",
        "{'score': 85, 'rating': 90}",
        '{"score": 85, "rating": 90}',
        '{"score": 8, "most": 10}',
        '{"score": true}',
        '{"score": null}',
        '{"score": [85]}',
        '{"score": 850}',
        '{"score": "REFUSAL"}',
        '{"sentences": 85}',
        "[85]",
        "<think>85",
        "<think>It would be 85",
        "REFUSAL 85",
        "\u0668\u0665",
    ],
)
def test_what_may_be_another_number_is_no_score(reply: str) -> None:
    assert parse_score(reply) is None


@pytest.mark.parametrize(
    ("reply", "score"),
    [("8", None), ("Score: 8", None), ("Score:", None), ("85\n\nIt mo", 85.0), ("85.", 85.0)],
)
def test_a_number_that_a_limit_may_have_cut_is_no_score(reply: str, score: float | None) -> None:
    assert parse_score(reply, ended=False) == score
