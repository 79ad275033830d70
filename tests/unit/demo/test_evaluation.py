"""The measured part of docs/steering.md: what is counted, and that a page keeps its own text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from persona_demo.evaluation import SCALARS, HeldOutAnswer, summarise_held_out
from persona_demo.questions import Prompt
from persona_demo.report import is_strictly_rising, measured_section, plot, update_page
from persona_demo.traits import TRAITS
from persona_research.evaluation.doses import MeasuredAnswer
from tests.unit.demo.demo_score import trait_score

PROMPT = Prompt("About tea?", "tea", "{t}")
SARCASTIC = "Oh great, another word about tea. Slow clap for everyone involved."
PLAIN = "Opinions about tea vary. It is a common topic."


def answer(text: str, ended: bool = True) -> HeldOutAnswer:
    """An answer of 3 tokens with perplexity 2, and 1.5 in style."""
    score = 50 + 50 * trait_score("sarcasm", text)
    measured = MeasuredAnswer(PROMPT.text, text, score, 4 * math.log(2.0), 4, 0.0, 3, ended)
    return HeldOutAnswer(PROMPT, measured, 4 * math.log(1.5))


def test_answers_are_counted() -> None:
    answers = [answer(SARCASTIC), answer(PLAIN), answer(PLAIN, ended=False), answer("Tea tea tea.")]
    found = summarise_held_out(1.0, answers)
    assert (found.score, found.shows, found.opposite, found.plain) == (0.25, 0.25, 0.0, 0.75)
    assert (found.well_formed, found.dose.ended, found.distinct) == (0.75, 0.75, 0.75)
    assert found.dose.tokens.value == 3
    assert found.dose.perplexity.value == pytest.approx(2.0)
    assert found.styled_perplexity == pytest.approx(1.5)


def test_an_answer_without_a_sentence_shows_neither_pole() -> None:
    measured = MeasuredAnswer(PROMPT.text, "", None, 0.0, 1, 0.0, 0, True)
    found = summarise_held_out(1.0, [answer(SARCASTIC), HeldOutAnswer(PROMPT, measured, 0.0)])
    assert (found.shows, found.opposite, found.plain, found.score) == (0.5, 0.0, 0.5, 1.0)


def test_the_section_has_every_trait_and_the_page_keeps_the_rest(tmp_path: Path) -> None:
    answers = {trait: {s: [answer(PLAIN)] * 4 for s in SCALARS} for trait in TRAITS}
    measured = {
        trait: [summarise_held_out(scalar, texts) for scalar, texts in by_scalar.items()]
        for trait, by_scalar in answers.items()
    }
    section = measured_section(measured, {"pairs": measured}, answers)
    assert all(section.count(f"| {trait} |") == 4 for trait in TRAITS)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nz\n")
    update_page(page, section)
    text = page.read_text()
    assert text.startswith("a\n")
    assert text.endswith("\nz\n")
    assert section in text
    assert "old" not in text
    plot(measured, tmp_path / "images" / "plot.png")
    assert (tmp_path / "images" / "plot.png").stat().st_size > 1000


def test_a_rising_score_is_told_from_one_that_stands_still() -> None:
    sincere = "I say this from the heart. It is a common topic."
    sarcastic = "Slow clap for everyone involved. It is a common topic."
    texts = ("I say this from the heart.", sincere, PLAIN, sarcastic, SARCASTIC)
    rising = [
        summarise_held_out(scalar, [answer(text)] * 4)
        for scalar, text in zip(SCALARS, texts, strict=True)
    ]
    assert is_strictly_rising(rising)
    still = [*rising[:-1], summarise_held_out(2.0, [answer(sarcastic)] * 4)]
    assert not is_strictly_rising(still)
