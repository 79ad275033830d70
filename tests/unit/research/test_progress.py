"""The store of finished answers survives being cut off anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from persona_research.answering import derived_seed
from persona_research.progress import AnswerStore, StoredAnswer, digest

ANSWER = StoredAnswer((1, 2, 3), "täxt \ud83d", True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "answers.jsonl"


def test_what_is_kept_is_found_again(path: Path) -> None:
    with AnswerStore(path) as store:
        store.add_answer("a", ANSWER)
        store.add_score("s", 12.5)
        store.add_score("none", None)
    with AnswerStore(path) as store:
        assert store.answer("a") == ANSWER
        assert store.score("s") == 12.5
        assert store.has_score("none")
        assert store.score("none") is None
        assert store.answer("b") is None
        assert not store.has_score("t")
        assert len(store) == 1


def test_every_line_is_on_disk_before_the_next(path: Path) -> None:
    store = AnswerStore(path)
    store.add_answer("a", ANSWER)
    assert AnswerStore(path).answer("a") == ANSWER
    store.close()


def test_nothing_is_written_until_there_is_something_to_write(path: Path) -> None:
    with AnswerStore(path):
        pass
    assert not path.exists()


def test_a_line_cut_off_anywhere_costs_that_line_only(path: Path) -> None:
    with AnswerStore(path) as store:
        store.add_answer("a", ANSWER)
        whole = path.stat().st_size
        store.add_answer("b", ANSWER)
    content = path.read_bytes()
    for length in range(whole, len(content)):
        path.write_bytes(content[:length])
        with AnswerStore(path) as store:
            assert store.answer("a") == ANSWER
            assert store.answer("b") is None
            store.add_answer("c", ANSWER)
        assert AnswerStore(path).answer("c") == ANSWER


def test_lines_of_something_else_are_passed_over(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('\n{"x": 1}\n[3]\nnot json\n{"score": "s", "value": "high"}\n')
    with AnswerStore(path) as store:
        store.add_score("t", 1.0)
    assert AnswerStore(path).score("t") == 1.0
    assert not AnswerStore(path).has_score("s")


def test_a_digest_tells_parts_apart() -> None:
    assert digest("a", "b") == digest("a", "b")
    assert len({digest("ab"), digest("a", "b"), digest(["a", "b"]), digest("a", "b", None)}) == 4


def test_a_seed_depends_on_what_is_asked_and_fits_the_engine() -> None:
    seeds = {
        derived_seed(seed, prompt, sample)
        for seed in (0, 1)
        for prompt in "ab"
        for sample in (0, 1)
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
