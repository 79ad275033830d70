"""The answers that a report shows: to questions that the seed draws, and as they are."""

from __future__ import annotations

import dataclasses

from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.report import markdown_report
from persona_research.evaluation.trait_evaluation import EvaluationSettings
from persona_research.judges import POINTS
from tests.unit.research.evaluations import MODEL, SCALARS, make_trait


def examples(seed: int, questions: int = 9) -> list[list[str]]:
    """The cells of a report's last table, whose answers name their scalar and question."""
    made = make_trait("warmth", 1)
    answers = {
        condition: [
            dataclasses.replace(
                group[0], question=f"{place}?", text=f"{condition.scalar:g} to {place}"
            )
            for place in range(questions)
        ]
        for condition, group in made.answers.items()
    }
    trait = dataclasses.replace(made, answers=answers)
    settings = EvaluationSettings(sampling=EvaluationSampling(seed=seed))
    text = markdown_report(Evaluation(MODEL, "rule", POINTS, settings, (trait,)), {})
    assert f"drawn with seed {seed}:" in text
    table = text.split("drawn with seed")[1].strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_three_questions_have_their_answers_at_every_scalar() -> None:
    header, _, *rows = examples(seed=0)
    drawn = [question.rstrip("?") for question in header[1:]]
    assert len(set(drawn)) == 3
    assert [row[1:] for row in rows] == [
        [f"{scalar:g} to {question}" for question in drawn] for scalar in SCALARS
    ]


def test_the_seed_draws_the_questions() -> None:
    assert examples(seed=1) == examples(seed=1)
    assert len({tuple(examples(seed)[0]) for seed in range(5)}) > 1


def test_fewer_questions_are_all_shown() -> None:
    assert sorted(examples(seed=0, questions=2)[0][1:]) == ["0?", "1?"]
