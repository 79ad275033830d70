"""A sweep's scores with and without what steering itself adds."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

SCALARS = [-2.0, 0.0, 2.0]
ASKED: dict[str, Any] = {
    "prompt": "How do I bake bread?",
    "trait": "sarcasm",
    "scalars": SCALARS,
    "scores": True,
    "temperature": 0,
    "max_tokens": 12,
}


def sweep(api: httpx.Client, **more: Any) -> list[dict[str, Any]]:
    response = api.post("/api/v1/sweep", json=ASKED | more)
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["answers"]
    return answers


def test_the_net_score_is_without_what_is_added_where_it_is_read(api: httpx.Client) -> None:
    trait = api.get("/api/v1/traits/sarcasm").json()
    (block,) = trait["selected_layers"]
    answers = sweep(api)
    for answer, scalar in zip(answers, SCALARS, strict=True):
        added = scalar * trait["norms"][str(block)]
        assert answer["score"] - answer["net_score"] == pytest.approx(added, abs=0.02)
    assert "token_readouts" not in answers[0]


def test_where_nothing_is_added_to_the_answer_both_are_the_same(api: httpx.Client) -> None:
    for answer in sweep(api, positions="prompt"):
        assert answer["score"] == pytest.approx(answer["net_score"], abs=1e-3)


def test_only_who_asks_for_the_tokens_gets_them(api: httpx.Client) -> None:
    streamed = api.post("/api/v1/sweep", json=ASKED | {"stream": True}).text
    assert "token_readouts" not in streamed
    assert streamed.count('"net_score":') == len(SCALARS)
    assert all(answer["token_readouts"] for answer in sweep(api, monitor_tokens=True))
    unscored = sweep(api, scores=False)
    assert {answer["net_score"] for answer in unscored} == {None}
