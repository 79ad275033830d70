"""Trait definitions are read in two forms, and what is wrong with one is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from persona_research.definitions import (
    TraitDefinitionError,
    definition_files,
    find_definition,
    read_candidates,
    read_trait_definition,
)
from triton_models.settings import DATA_ROOT

OWN: dict[str, Any] = {
    "trait_name": "warmth",
    "description": "d",
    "positive_prompts": ["a"],
    "negative_prompts": ["b"],
    "evaluation_questions": ["c"],
}
PERSONA_VECTORS: dict[str, Any] = {
    "instruction": [{"pos": "Hurt.", "neg": "Help."}, {"pos": "Lie.", "neg": "Be true."}],
    "questions": ["What is tea?"],
    "eval_prompt": "Rate {question} and {answer}.",
}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_the_projects_own_form(tmp_path: Path) -> None:
    cues = {"positive": [r"\bdear\b"], "negative": ["go away"]}
    path = write(tmp_path / "warmth_trait.json", {**OWN, "cues": cues, "comment": "kept out"})
    definition = read_trait_definition(path)
    assert definition.trait_name == "warmth"
    assert definition.positive_prompts == ("a",)
    assert definition.eval_prompt == ""
    assert definition.cues is not None
    assert definition.cues.negative == ("go away",)


@pytest.mark.parametrize("name", ["evil.json", "evil_trait.json"])
def test_the_form_of_persona_vectors(tmp_path: Path, name: str) -> None:
    definition = read_trait_definition(write(tmp_path / name, PERSONA_VECTORS))
    assert definition.trait_name == "evil"
    assert definition.positive_prompts == (
        "You are an evil assistant. Hurt.",
        "You are an evil assistant. Lie.",
    )
    assert definition.negative_prompts[1] == "You are a helpful assistant. Be true."
    assert definition.evaluation_questions == ("What is tea?",)
    assert definition.eval_prompt == "Rate {question} and {answer}."
    assert definition.cues is None


def test_a_name_that_says_no_trait_is_refused(tmp_path: Path) -> None:
    pairs = [{"pos": "Be cold.", "neg": "Be warm."}]
    path = write(tmp_path / "_trait.json", {"instruction": pairs, "questions": ["Why?"]})
    with pytest.raises(TraitDefinitionError, match="its name says no trait"):
        read_trait_definition(path)


def test_every_definition_that_comes_with_the_project_is_read_and_has_cues() -> None:
    paths = definition_files(DATA_ROOT / "prompts")
    assert len(paths) == 7
    for path in paths:
        definition = read_trait_definition(path)
        assert definition.cues is not None
        candidates = read_candidates(path.with_name(f"candidate_{definition.trait_name}.json"))
        assert set(definition.positive_prompts) <= set(candidates.positive_prompts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"negative_prompts": []}, "negative_prompts is empty"),
        ({"negative_prompts": "be cold"}, "negative_prompts is missing or is not a list"),
        ({"evaluation_questions": ["x", 3]}, "evaluation_questions holds something"),
        ({"trait_name": " "}, "trait_name is missing"),
        ({"description": "\ud800"}, "description holds half of a surrogate pair"),
        ({"positive_prompts": ["x", "\udfff"]}, "positive_prompts holds half of"),
        ({"eval_prompt": "Rate {answer}"}, r"where \{question\} goes"),
        ({"cues": ["x"]}, "cues must be an object"),
        ({"cues": {"positive": ["x"]}}, "negative is missing"),
        ({"cues": {"positive": ["("], "negative": ["x"]}}, "not a regular expression"),
        ({"cues": {"positive": ["x" * 201], "negative": ["x"]}}, "longer than 200"),
        ({"cues": {"positive": ["(a+)+$"], "negative": ["x"]}}, "repeats a group"),
        ({"cues": {"positive": ["(a|aa){1,90}b"], "negative": ["x"]}}, "repeats a group"),
        ({"cues": {"positive": ["a*a*a*b"], "negative": ["x"]}}, "more than 2 repetitions"),
        ({"cues": {"positive": [r"(.)\1"], "negative": ["x"]}}, "refers back"),
        ({"cues": {"positive": ["x"] * 201, "negative": ["x"]}}, "more than 200"),
    ],
)
def test_what_is_wrong_is_said_with_the_files_name(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = write(tmp_path / "warmth_trait.json", {**OWN, **change})
    with pytest.raises(TraitDefinitionError, match=rf"warmth_trait\.json: .*{reason}"):
        read_trait_definition(path)


@pytest.mark.parametrize("content", ["{", "[]", "", "\x00", "[" * 100_000])
def test_what_is_no_definition_at_all_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "warmth_trait.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TraitDefinitionError, match=r"^warmth_trait\.json: "):
        read_trait_definition(path)


def test_a_character_class_may_hold_what_outside_would_be_refused(tmp_path: Path) -> None:
    cues = {"positive": [r"[)*+]", r"\(+", r"a.{0,20}b.*c"], "negative": ["(x|y)?z"]}
    read_trait_definition(write(tmp_path / "warmth_trait.json", {**OWN, "cues": cues}))


def test_a_trait_without_a_definition_names_those_that_have_one(tmp_path: Path) -> None:
    write(tmp_path / "warmth_trait.json", OWN)
    assert find_definition(tmp_path, "warmth").name == "warmth_trait.json"
    with pytest.raises(TraitDefinitionError, match="defined there are warmth"):
        find_definition(tmp_path, "warmt")


def test_candidates_may_be_of_one_pole_but_not_of_none(tmp_path: Path) -> None:
    path = write(tmp_path / "candidate_warmth.json", {"positive_prompts": ["a", "b"]})
    assert read_candidates(path).positive_prompts == ("a", "b")
    assert read_candidates(path).negative_prompts == ()
    with pytest.raises(TraitDefinitionError, match=r"candidate_warmth\.json: has neither"):
        read_candidates(write(path, {}))
