"""Evaluations that nothing was generated for."""

from __future__ import annotations

import numpy as np

from persona_research.evaluation.choice import Asked, ChoiceRule, choose
from persona_research.evaluation.conditions import UNSTEERED, Condition
from persona_research.evaluation.cross_trait import cosines, movement
from persona_research.evaluation.doses import DoseCurve, MeasuredAnswer, summarise
from persona_research.evaluation.evaluation import Evaluation
from persona_research.evaluation.trait_evaluation import EvaluationSettings, TraitEvaluation
from persona_research.judges import POINTS
from triton_models.vectors.calibration import ModelIdentity
from triton_models.vectors.persona_vector import PersonaVector

MODEL = ModelIdentity("org/tiny", "ab")
SCALARS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def make_vector(trait: str, num_blocks: int) -> PersonaVector:
    random = np.random.default_rng(len(trait))
    blocks = {block: random.normal(size=8).astype(np.float32) for block in range(num_blocks)}
    return PersonaVector(trait, "tiny", blocks, {"scale": 0.5, "selected_layer": 0})


def make_answers(scalar: float, strength: float) -> list[MeasuredAnswer]:
    return [
        MeasuredAnswer(
            question=f"question {place}",
            text=f"answer | {scalar}\nof two lines",
            score=None if place == 0 and scalar > 1 else 50 + strength * scalar + place,
            loss=3.0 + abs(scalar),
            loss_tokens=10,
            repetition=0.0,
            tokens=9,
            ended=True,
        )
        for place in range(4)
    ]


def make_trait(trait: str, num_blocks: int = 2) -> TraitEvaluation:
    vector = make_vector(trait, num_blocks)
    answers: dict[Condition, list[MeasuredAnswer]] = {UNSTEERED: make_answers(0, 0)}
    curves = []
    for block in range(num_blocks):
        doses = []
        for scalar in SCALARS:
            condition = Condition((block,), scalar) if scalar else UNSTEERED
            answers[condition] = make_answers(scalar, 5.0 * (block + 1))
            doses.append(summarise(scalar, answers[condition]))
        curves.append(DoseCurve((block,), tuple(doses), 0.2))
    asked = Asked(summarise(0, make_answers(3, 15)), summarise(0, make_answers(-3, 15)))
    norms = dict.fromkeys(range(num_blocks), 12.0)
    choice = choose(curves, asked, ChoiceRule())
    return TraitEvaluation(vector, "rule", POINTS, norms, answers, tuple(curves), asked, choice)


def make_evaluation() -> Evaluation:
    """An evaluation of two traits at several blocks, with what each does to the other."""
    traits = make_trait("warmth"), make_trait("candour", num_blocks=8)
    names = [trait.vector.trait_name for trait in traits]
    movements = [
        movement(steered, judged, scalar, [50, 50], [50 + 5 * scalar, None])
        for steered in names
        for judged in names
        for scalar in (-2.0, 2.0)
    ]
    vectors = {trait.vector.trait_name: trait.vector for trait in traits}
    return Evaluation(
        MODEL,
        "rule",
        POINTS,
        EvaluationSettings(),
        traits,
        tuple(movements),
        tuple(cosines(vectors, [0, 1])),
    )
