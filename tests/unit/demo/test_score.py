"""The trait score counts sentences that show a pole; the grammar check knows the corpus."""

from __future__ import annotations

import random

import pytest

from persona_demo.corpus import Style, all_poles, write_answer
from persona_demo.grammar import sentence_topics, well_formed_share
from persona_demo.questions import Prompt
from persona_research.judges.rule import split_sentences
from tests.unit.demo.demo_score import sentence_pole, trait_score


def test_sentences_are_split_at_their_ends() -> None:
    assert split_sentences("One. Two?  Three!\nFour") == ["One.", "Two?", "Three!", "Four"]
    assert split_sentences("  ") == []


@pytest.mark.parametrize(
    ("sentence", "pole"),
    [
        ("Oh great, another word about tea.", 1),
        ("I mean every word of it.", -1),
        ("There are a few things to say about tea.", 0),
        ("Oh, I honestly do not know.", 0),
    ],
)
def test_a_sentence_shows_one_pole_or_none(sentence: str, pole: int) -> None:
    assert sentence_pole("sarcasm", sentence) == pole


def test_the_score_is_the_balance_of_sentences() -> None:
    assert trait_score("sarcasm", "Slow clap for everyone involved. It is a common topic.") == 0.5
    assert trait_score("sarcasm", "Slow clap. I mean every word of it.") == 0.0
    assert trait_score("sarcasm", "You have my sincere respect.") == -1.0
    assert trait_score("sarcasm", "") == 0.0


def test_the_score_reads_nothing_but_words() -> None:
    assert trait_score("sarcasm", "oh WOW") == 1.0


def test_every_corpus_sentence_is_well_formed() -> None:
    prompt = Prompt("About tea?", "green tea", "{t}")
    rng = random.Random(0)
    for pole in all_poles():
        for _ in range(50):
            text = write_answer(prompt, (Style(pole),), rng)
            assert well_formed_share(text, "green tea") == 1.0, text


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Oh great, another word about green tea.", 1.0),
        ("Oh great, another word about black tea.", 0.0),
        ("Oh great great about green tea.", 0.0),
        ("Slow clap for everyone involved. Tea is is.", 0.5),
        ("It is a common topic. It is a common topic.", 0.0),
        ("", 0.0),
    ],
)
def test_faults_are_found(text: str, share: float) -> None:
    assert well_formed_share(text, "green tea") == share


def test_the_topic_of_a_sentence_is_found() -> None:
    assert sentence_topics("Opinions about green tea vary.") == ["green tea"]
    assert sentence_topics("It is a common topic.") == []
    assert sentence_topics("Blue sings.") is None
