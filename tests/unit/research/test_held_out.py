"""Held-out questions take the place of a trait's own, and are none of these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from persona_research.definitions import TraitDefinitionError, read_trait_definition
from persona_research.held_out import with_held_out_questions
from triton_models.settings import DATA_ROOT

SARCASM = read_trait_definition(DATA_ROOT / "prompts/sarcasm_trait.json")


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_file_or_a_folder_takes_the_place_of_the_questions(tmp_path: Path) -> None:
    file = write(tmp_path / "sarcasm.jsonl", {"question": "Why?"}, {"question": "How?"})
    for path in (file, tmp_path):
        found = with_held_out_questions(SARCASM, path)
        assert found.evaluation_questions == ("Why?", "How?")
        assert found.positive_prompts == SARCASM.positive_prompts


def test_the_questions_that_come_along_are_held_out() -> None:
    for path in sorted((DATA_ROOT / "prompts").glob("*_trait.json")):
        found = with_held_out_questions(read_trait_definition(path), DATA_ROOT / "voices/held_out")
        assert len(found.evaluation_questions) == 40


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "has no questions"),
        (({"question": "Why?"}, {"answer": "So."}), "line 2 must be an object such as"),
        ((["Why?"],), "line 1 must be an object"),
        (({"question": SARCASM.evaluation_questions[0]},), "line 1 is a question that the vector"),
    ],
)
def test_what_is_no_held_out_question_is_refused(
    tmp_path: Path, lines: tuple[object, ...], message: str
) -> None:
    with pytest.raises(TraitDefinitionError, match=message):
        with_held_out_questions(SARCASM, write(tmp_path / "questions.jsonl", *lines))
    with pytest.raises(TraitDefinitionError, match=r"cannot be read: No such file or directory$"):
        with_held_out_questions(SARCASM, tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"caf\xe9")
    with pytest.raises(TraitDefinitionError, match=r"cannot be read: it is not UTF-8, at byte 3$"):
        with_held_out_questions(SARCASM, tmp_path / "latin.jsonl")
