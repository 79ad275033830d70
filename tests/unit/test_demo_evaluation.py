"""The measured part of docs/steering.md: what is counted, and that a page keeps its own text."""

from __future__ import annotations

import math
from pathlib import Path

from persona_demo.evaluation import SCALARS, Perplexities, summarise
from persona_demo.questions import Prompt
from persona_demo.report import is_strictly_rising, measured_section, plot, update_page
from persona_demo.traits import TRAITS
from persona_research.model import Answer

PROMPTS = [Prompt("About tea?", "tea", "{t}")] * 4
SARCASTIC = "Oh great, another word about tea. Slow clap for everyone involved."
PLAIN = "Opinions about tea vary. It is a common topic."


def answer(text: str, ended: bool = True) -> Answer:
    return Answer([1, 2], [3, 4, 5], text, ended)


def test_answers_are_counted() -> None:
    answers = [answer(SARCASTIC), answer(PLAIN), answer(PLAIN, ended=False), answer("Tea tea tea.")]
    found = summarise("sarcasm", 1.0, PROMPTS, answers, Perplexities(2.0, 1.5))
    assert (found.score, found.shows, found.opposite, found.plain) == (0.25, 0.25, 0.0, 0.75)
    assert (found.well_formed, found.ended, found.distinct) == (0.75, 0.75, 0.75)
    assert (found.tokens, found.perplexity, found.styled_perplexity) == (3, 2.0, 1.5)
    assert math.isnan(summarise("sarcasm", 1.0, PROMPTS, answers).perplexity)


def test_the_section_has_every_trait_and_the_page_keeps_the_rest(tmp_path: Path) -> None:
    answers = {trait: {s: [answer(PLAIN)] * 4 for s in SCALARS} for trait in TRAITS}
    measured = [
        summarise(trait, scalar, PROMPTS, texts, Perplexities(2.0, 1.5))
        for trait, by_scalar in answers.items()
        for scalar, texts in by_scalar.items()
    ]
    section = measured_section(measured, {"pairs": measured}, PROMPTS, answers)
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
    texts = dict(
        zip(
            SCALARS,
            ("I say this from the heart.", sincere, PLAIN, sarcastic, SARCASTIC),
            strict=True,
        )
    )
    rising = [
        summarise("sarcasm", scalar, PROMPTS, [answer(text)] * 4) for scalar, text in texts.items()
    ]
    assert is_strictly_rising(rising, "sarcasm")
    still = [*rising[:-1], summarise("sarcasm", 2.0, PROMPTS, [answer(sarcastic)] * 4)]
    assert not is_strictly_rising(still, "sarcasm")
