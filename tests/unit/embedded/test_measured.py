"""Tables and pages of the embedded model's evaluation say what the numbers are."""

from __future__ import annotations

import dataclasses

from persona_embedded.measured import answers_page, contrast_table, text_table
from persona_research.evaluation.report import movement_table
from tests.unit.research.evaluations import make_evaluation


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_contrasts_are_told_with_what_asking_does() -> None:
    header, _, first, _ = cells(contrast_table(make_evaluation()))
    found = dict(zip(header, first, strict=True))
    assert found["trait"] == "warmth"
    assert found["+1"].startswith("+56.500 [")
    assert found["rises throughout"] == "yes"
    # 5 of the 45 points that asking moves it by.
    assert found["+1 does of asking"] == "0.11"


def test_the_text_is_compared_with_what_was_asked_for() -> None:
    evaluation = make_evaluation()
    similarity = {
        (answer.question, answer.text): 0.5 - abs(condition.scalar) / 10
        for trait in evaluation.traits
        for condition, group in trait.answers.items()
        for answer in group
    }
    header, _, first, *_ = cells(text_table(evaluation, similarity))
    found = dict(zip(header, first, strict=True))
    assert (found["scalar"], found["repetition - asked"], found["ended"]) == ("-2", "+0.00", "1.00")
    # A loss of 0.5 nats per token against one of 0.6.
    assert found["perplexity / asked"] == "0.90"
    assert found["similarity - unsteered"] == "-0.20 [-0.20, -0.20]"
    assert cells(text_table(evaluation, {}))[2][-1] == "not measured"


def test_other_traits_and_answers_are_there_as_they_are() -> None:
    evaluation = make_evaluation()
    assert "warmth -2" in movement_table(evaluation.movements, evaluation.scale)
    page = answers_page(evaluation)
    assert page.count("**question ") == 2 * 3
    assert "- *+2*: answer | 2.0 of two lines" in page
    assert page == answers_page(evaluation)


def test_several_answers_to_a_question_stand_together() -> None:
    once = make_evaluation()
    traits = [
        dataclasses.replace(
            trait,
            answers={
                condition: [
                    each
                    for answer in group
                    for each in (answer, dataclasses.replace(answer, text=f"{answer.text} again"))
                ]
                for condition, group in trait.answers.items()
            },
        )
        for trait in once.traits
    ]
    twice = dataclasses.replace(once, traits=tuple(traits))
    similarity = {
        (answer.question, answer.text): 0.5
        - abs(condition.scalar) / (5 if answer.text.endswith("again") else 10)
        for trait in traits
        for condition, group in trait.answers.items()
        for answer in group
    }
    # Of four questions, not of eight answers: the mean of -0.2 and -0.4 for each.
    assert cells(text_table(twice, similarity))[2][-1] == "-0.30 [-0.30, -0.30]"
    assert answers_page(twice) == answers_page(once)
