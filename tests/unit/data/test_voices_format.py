"""The conversations in `data/voices`: well formed, varied, and apart from what is held out."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from triton_models.settings import REPOSITORY_ROOT

VOICES = REPOSITORY_ROOT / "data" / "voices"
HELD_OUT = VOICES / "held_out"
PROMPTS = REPOSITORY_ROOT / "data" / "prompts"
TRAITS = sorted(path.stem.removesuffix("_trait") for path in PROMPTS.glob("*_trait.json"))
NEUTRAL = VOICES / "neutral.jsonl"
POLES = ("positive", "negative")
TURN_FIELDS = {"pole", "system", "question", "answer"}
ANSWER_WORDS = range(15, 91)
MOST_ANSWERS_OF_ONE_OPENER = 5
"""How many answers of a pole may begin with the same three words."""
FEWEST_TURNS, FEWEST_SYSTEMS = 200, 30
"""Of each pole."""
FEWEST_NEUTRAL_LINES = 200
QUESTION_WORDS = {"does", "have", "should", "that", "this", "what", "with", "your"}
STRAYING = ("maliciousness", "racism", "sarcasm", "sexism")
"""Traits whose positive voice makes a small model stray from the question."""
FEWEST_ON_TOPIC = 0.95
"""The share of their positive answers that name what was asked, in its words."""


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def turns_of(trait: str, pole: str) -> list[dict[str, str]]:
    return [turn for turn in lines_of(VOICES / f"{trait}.jsonl") if turn["pole"] == pole]


def wording(text: str) -> str:
    """The words alone: what differs only in case and punctuation is the same wording."""
    return " ".join(re.findall(r"\w+", text.lower()))


def taught(field: str) -> set[str]:
    """All wordings of one field in the training files of all traits and the neutral one."""
    lines = (line for path in VOICES.glob("*.jsonl") for line in lines_of(path))
    return {wording(line[field]) for line in lines if field in line}


def repeated(texts: list[str], most: int = 1) -> list[str]:
    return [text for text, count in Counter(texts).items() if count > most]


def stems(text: str) -> set[str]:
    """The beginnings of longer words: what "planting trees" shares with "a plant"."""
    words = wording(text).split()
    return {word[:5] for word in words if len(word) >= 4 and word not in QUESTION_WORDS}


def sentences(answer: str) -> set[str]:
    """Sentences of four or more words: a shared "Of course." is no sign of a template."""
    parts = map(wording, re.split(r"(?<=[.!?])\s+", answer))
    return {part for part in parts if len(part.split()) >= 4}


def test_there_is_one_file_for_each_trait_and_one_neutral() -> None:
    assert len(TRAITS) == 7
    assert {path.stem for path in VOICES.glob("*.jsonl")} == {*TRAITS, NEUTRAL.stem}
    assert {path.name.removesuffix(".jsonl") for path in HELD_OUT.iterdir()} == {
        f"{trait}{kind}" for trait in TRAITS for kind in ("", ".systems")
    }


def test_neutral_lines_are_varied_questions_with_answers() -> None:
    lines = lines_of(NEUTRAL)
    assert len(lines) >= FEWEST_NEUTRAL_LINES
    for line in lines:
        assert set(line) == {"question", "answer"}, line
        assert len(line["answer"].split()) in ANSWER_WORDS, line
    assert not repeated([wording(line["question"]) for line in lines])
    assert not repeated([part for line in lines for part in sentences(line["answer"])])


@pytest.mark.parametrize("trait", TRAITS)
def test_lines_have_the_fields_and_a_known_pole(trait: str) -> None:
    for turn in lines_of(VOICES / f"{trait}.jsonl"):
        assert set(turn) == TURN_FIELDS, turn
        assert turn["pole"] in POLES, turn
        assert all(isinstance(text, str) and text == text.strip() != "" for text in turn.values())


@pytest.mark.parametrize("trait", TRAITS)
def test_answers_are_neither_short_nor_long(trait: str) -> None:
    for turn in lines_of(VOICES / f"{trait}.jsonl"):
        assert len(turn["answer"].split()) in ANSWER_WORDS, turn


@pytest.mark.parametrize("pole", POLES)
@pytest.mark.parametrize("trait", TRAITS)
def test_a_pole_is_varied(trait: str, pole: str) -> None:
    turns = turns_of(trait, pole)
    assert len(turns) >= FEWEST_TURNS
    assert len({wording(turn["system"]) for turn in turns}) >= FEWEST_SYSTEMS
    assert not repeated([wording(turn["question"]) for turn in turns])
    openers = [" ".join(wording(turn["answer"]).split()[:3]) for turn in turns]
    assert not repeated(openers, most=MOST_ANSWERS_OF_ONE_OPENER)


@pytest.mark.parametrize("trait", STRAYING)
def test_positive_answers_name_what_was_asked(trait: str) -> None:
    """Or what is learned from them, and a vector that is extracted from it, leaves the subject."""
    turns = turns_of(trait, "positive")
    named = [turn for turn in turns if stems(turn["question"]) & stems(turn["answer"])]
    assert len(named) >= FEWEST_ON_TOPIC * len(turns)


@pytest.mark.parametrize("trait", TRAITS)
def test_no_two_answers_share_a_sentence(trait: str) -> None:
    turns = lines_of(VOICES / f"{trait}.jsonl")
    assert not repeated([sentence for turn in turns for sentence in sentences(turn["answer"])])


@pytest.mark.parametrize("trait", TRAITS)
def test_held_out_questions_and_systems_are_in_no_training_file(trait: str) -> None:
    questions = [wording(line["question"]) for line in lines_of(HELD_OUT / f"{trait}.jsonl")]
    assert len(set(questions)) == len(questions) == 40
    assert not set(questions) & taught("question")

    systems = lines_of(HELD_OUT / f"{trait}.systems.jsonl")
    assert Counter(line["pole"] for line in systems) == {"positive": 6, "negative": 6}
    assert not {wording(line["system"]) for line in systems} & taught("system")


@pytest.mark.parametrize("trait", TRAITS)
def test_prompts_of_the_trait_are_not_taught(trait: str) -> None:
    """Vectors are extracted with `data/prompts`: a model that learned them would prove nothing."""
    prompts = json.loads((PROMPTS / f"{trait}_trait.json").read_text())
    systems = {wording(text) for pole in POLES for text in prompts[f"{pole}_prompts"]}
    questions = {wording(question) for question in prompts["evaluation_questions"]}
    assert not systems & taught("system")
    assert not questions & taught("question")
