"""Candidates are ranked by their scores, and the best take their place without loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from persona_research.candidates import CandidateError, RankedPrompt, Ranking, keep_best, rank

DEFINITION = {
    "trait_name": "warmth",
    "positive_prompts": ["old"],
    "negative_prompts": ["old cold"],
    "evaluation_questions": ["?"],
    "something": "of the user's",
}


def ranked(*prompts: str) -> tuple[RankedPrompt, ...]:
    return tuple(RankedPrompt(prompt, 0.0, 0.0, 1, 0) for prompt in prompts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "warmth_trait.json"
    path.write_text(json.dumps(DEFINITION), encoding="utf-8")
    return path


def test_the_positive_pole_wants_high_scores_and_the_negative_low_ones() -> None:
    scores: dict[str, list[float | None]] = {
        "mild": [60.0, 60.0],
        "strong": [90.0, 100.0],
        "weak": [20.0, None],
        "mute": [None, None],
    }
    best = rank(list(scores), scores, "positive")
    assert [each.prompt for each in best] == ["strong", "mild", "weak"]
    assert best[0] == RankedPrompt("strong", 95.0, 5.0, 2, 0)
    assert best[2] == RankedPrompt("weak", 20.0, 0.0, 1, 1)
    lowest = rank(list(scores), scores, "negative")
    assert [each.prompt for each in lowest] == ["weak", "mild", "strong"]


def test_equal_candidates_keep_their_order_and_count_once() -> None:
    scores: dict[str, list[float | None]] = {name: [50.0] for name in "cab"}
    best = rank(["c", "a", "c", "b"], scores, "positive")
    assert [each.prompt for each in best] == ["c", "a", "b"]


def test_the_best_take_the_place_of_the_prompts_and_all_else_stays(path: Path) -> None:
    keep_best(path, Ranking(ranked("x", "y", "z"), ranked("n")), 2)
    assert json.loads(path.read_text()) == {
        **DEFINITION,
        "positive_prompts": ["x", "y"],
        "negative_prompts": ["n"],
    }


def test_a_pole_without_candidates_keeps_its_prompts(path: Path) -> None:
    keep_best(path, Ranking((), ranked("n")), 5)
    assert json.loads(path.read_text())["positive_prompts"] == ["old"]


def test_no_backup_is_ever_overwritten(path: Path) -> None:
    before = path.read_bytes()
    first = keep_best(path, Ranking(ranked("x"), ()), 1)
    between = path.read_bytes()
    second = keep_best(path, Ranking(ranked("y"), ()), 1)
    assert first.name == "warmth_trait.json.1.bak"
    assert second.name == "warmth_trait.json.2.bak"
    assert first.read_bytes() == before
    assert second.read_bytes() == between
    assert sorted(each.name for each in path.parent.iterdir()) == [
        path.name,
        first.name,
        second.name,
    ]


def test_a_file_in_another_form_is_left_alone(path: Path) -> None:
    path.write_text(json.dumps({"instruction": []}), encoding="utf-8")
    with pytest.raises(CandidateError, match="cannot be updated"):
        keep_best(path, Ranking(ranked("x"), ()), 1)
    assert [each.name for each in path.parent.iterdir()] == [path.name]
