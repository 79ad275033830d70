"""An evaluation with several answers to a question, with a control, and with scalars as asking."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS
from persona_research.definitions import find_definition, read_trait_definition
from persona_research.evaluation.conditions import UNSTEERED, Condition, EvaluationSampling
from persona_research.evaluation.trait_evaluation import (
    EvaluationSettings,
    TraitEvaluation,
    evaluate_trait,
)
from persona_research.judges.rule import RuleJudge
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.contract.errors import InvalidArgumentError
from triton_models.vectors.formats import read_vector
from triton_models.vectors.unit_scale import PoleScale, UnitScale, unit_scale_document

DEFINITION = read_trait_definition(find_definition(DEFAULT_PROMPTS, "sarcasm"))
VECTOR = read_vector(DEFAULT_VECTORS / "sarcasm.json")


@pytest.fixture(scope="module")
def model() -> Iterator[ResearchModel]:
    with ResearchModel.open(device="cpu", threads=1) as opened:
        yield opened


def evaluated(
    model: ResearchModel, folder: Path, settings: EvaluationSettings, layers: int = 1
) -> TraitEvaluation:
    scale = unit_scale_document(
        {(layers,): UnitScale(PoleScale(1.5), PoleScale(2.0))}, model.described, "contrast", 20
    )
    vector = dataclasses.replace(VECTOR, metadata={**VECTOR.metadata, "unit_scale": scale})
    with AnswerStore(folder / "answers.jsonl") as store:
        return evaluate_trait(model, RuleJudge(), vector, DEFINITION, settings, store)


def test_every_sample_is_another_answer_and_a_random_vector_does_nothing(
    model: ResearchModel, tmp_path: Path
) -> None:
    sampling = EvaluationSampling(40, temperature=1.0, samples=2)
    settings = EvaluationSettings((-2.0, 2.0), (1,), 4, sampling, control=True)
    found = evaluated(model, tmp_path, settings)
    assert found.num_questions == 4
    for condition in (UNSTEERED, Condition((1,), 2.0)):
        answers = found.answers[condition]
        assert len(answers) == 8
        assert any(answers[place].text != answers[place + 1].text for place in range(0, 8, 2))
        assert all(answers[place].question == answers[place + 1].question for place in (0, 2, 4, 6))
    (curve,) = found.curves
    assert found.choice.chosen is not None
    span = found.choice.chosen.range
    assert [dose.scalar for dose in found.control] == [end for end in (span.low, span.high) if end]
    assert found.control
    for dose in found.control:
        assert dose.divergence.value > 0.01
        moved, own = (
            abs(each.score.value - curve.unsteered.score.value)
            for each in (dose, curve.at(dose.scalar))
        )
        assert moved < own / 2


def test_scalars_can_be_multiples_of_asking(model: ResearchModel, tmp_path: Path) -> None:
    settings = EvaluationSettings(
        (-1.0, 0.5, 1.0), "selected", 1, EvaluationSampling(4), unit="prompt"
    )
    (curve,) = evaluated(model, tmp_path, settings).curves
    assert curve.scalars == (-2.0, 0.0, 0.75, 1.5)
    with pytest.raises(InvalidArgumentError, match="was not measured at layers"):
        evaluated(model, tmp_path, settings, layers=2)
