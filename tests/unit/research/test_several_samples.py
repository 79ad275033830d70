"""Several answers to each question: what an evaluation makes of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from persona_research.evaluation.conditions import UNSTEERED, EvaluationSampling
from persona_research.evaluation.control import random_vector
from persona_research.evaluation.doses import summarise
from persona_research.evaluation.report import markdown_report
from persona_research.evaluation.tables import dose_rows
from persona_research.turns import AnswerSettingsError
from tests.unit.research.evaluations import make_answers, make_evaluation, make_vector


def test_answers_to_one_question_stand_together() -> None:
    """Twice the same answers say no more about other questions than once."""
    once = make_answers(1.0, 10.0)
    twice = [each for each in once for _ in range(2)]
    single, double = summarise(1.0, once), summarise(1.0, twice)
    assert double == dataclasses.replace(single, answers=8)
    assert double.score.low < double.score.value < double.score.high


def test_an_answer_without_a_score_leaves_the_others_of_its_question() -> None:
    one = make_answers(0.0, 0.0)[0]
    group = [dataclasses.replace(one, score=score) for score in (None, 40.0, 60.0)]
    other = dataclasses.replace(one, question="another", score=90.0)
    found = summarise(0.0, [*group, other])
    assert (found.score.value, found.unscored, found.answers) == (70.0, 1, 4)


def test_several_need_a_temperature() -> None:
    assert EvaluationSampling(temperature=0.7, samples=3).samples == 3
    with pytest.raises(AnswerSettingsError, match="more than one sample needs a temperature"):
        EvaluationSampling(samples=3)


def test_the_report_counts_questions_and_names_what_is_random() -> None:
    evaluation = make_evaluation()
    sampling = EvaluationSampling(temperature=0.7, samples=2)
    trait = evaluation.traits[0]
    curve = trait.chosen_curve
    assert curve is not None
    answers = {name: [*group, *group] for name, group in trait.answers.items()}
    trait = dataclasses.replace(trait, answers=answers, control=(curve.at(2.0),))
    settings = dataclasses.replace(evaluation.settings, sampling=sampling)
    text = markdown_report(dataclasses.replace(evaluation, settings=settings, traits=(trait,)), {})
    assert len(answers[UNSTEERED]) == 8
    assert "4 questions for each trait, 2 answers to each under each condition" in text
    assert "\n| +2, random vector | " in text
    rows = dose_rows(dataclasses.replace(evaluation, traits=(trait,)))
    assert [row["vector"] for row in rows].count("random") == 1
    assert (rows[-1]["vector"], rows[-1]["chosen"]) == ("random", False)


def test_a_random_vector_has_the_norms_and_not_the_direction() -> None:
    vector = make_vector("warmth", 3)
    found = random_vector(vector, seed=1)
    assert found.norms == pytest.approx(vector.norms)
    assert found.trait_name == vector.trait_name
    for block, numbers in found.blocks.items():
        assert not np.allclose(numbers, vector.blocks[block])
        np.testing.assert_array_equal(numbers, random_vector(vector, seed=1).blocks[block])
