"""The evaluation of several vectors of one model, and of what each does to the others' traits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from persona_research.answering import check_judge, stored_scores
from persona_research.definitions import TraitDefinition
from persona_research.evaluation.conditions import UNSTEERED, Condition
from persona_research.evaluation.cross_trait import Cosines, Movement, cosines, movement
from persona_research.evaluation.trait_evaluation import (
    EvaluationSettings,
    TraitEvaluation,
    evaluate_trait,
)
from persona_research.judges import Judge, Scale
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore, progress_bar
from triton_models.vectors.calibration import ModelIdentity
from triton_models.vectors.persona_vector import PersonaVector


@dataclass(frozen=True, slots=True)
class Subject:
    """A vector to evaluate, and its trait's definition."""

    vector: PersonaVector
    definition: TraitDefinition


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found out about some vectors of one model.

    If asked for, movements are of each trait at both ends of its range, and cosines at every block
    that was chosen for one of them.
    """

    model: ModelIdentity
    judge: str
    scale: Scale
    settings: EvaluationSettings
    traits: tuple[TraitEvaluation, ...]
    movements: tuple[Movement, ...] = ()
    cosines: tuple[Cosines, ...] = ()


def evaluate(
    model: ResearchModel,
    judge: Judge,
    subjects: Sequence[Subject],
    settings: EvaluationSettings,
    store: AnswerStore,
    cross: bool,
) -> Evaluation:
    """Evaluates vectors.

    Raises:
        EvaluationError: A vector cannot be evaluated as asked.
        JudgeError: The judge cannot judge.
        RequestError: A scalar is too large or too small for the model's dtype.
    """
    for each in subjects:
        check_judge(judge, each.definition)
    traits = tuple(
        evaluate_trait(model, judge, each.vector, each.definition, settings, store)
        for each in subjects
    )
    return evaluation_of(model.described, judge, subjects, traits, settings, store, cross)


def evaluation_of(
    model: ModelIdentity,
    judge: Judge,
    subjects: Sequence[Subject],
    traits: Sequence[TraitEvaluation],
    settings: EvaluationSettings,
    store: AnswerStore,
    cross: bool,
) -> Evaluation:
    """Puts evaluations of single vectors together, and adds what each does to others' traits.

    Raises:
        JudgeError: The judge cannot judge.
    """
    found = Evaluation(model, judge.name, judge.scale, settings, tuple(traits))
    if not cross:
        return found
    chosen = [trait.choice.chosen for trait in traits if trait.choice.chosen is not None]
    blocks = sorted({block for candidate in chosen for block in candidate.blocks})
    vectors = {each.vector.trait_name: each.vector for each in subjects}
    return dataclasses.replace(
        found,
        movements=tuple(_movements(judge, subjects, traits, settings, store)),
        cosines=tuple(cosines(vectors, blocks)),
    )


def _movements(
    judge: Judge,
    subjects: Sequence[Subject],
    traits: Sequence[TraitEvaluation],
    settings: EvaluationSettings,
    store: AnswerStore,
) -> list[Movement]:
    """Every trait's score of the answers that each trait's evaluation generated anyway."""
    found = []
    for trait in traits:
        chosen = trait.choice.chosen
        if chosen is None:
            continue
        conditions = {
            scalar: Condition(chosen.blocks, scalar)
            for scalar in (chosen.range.low, chosen.range.high)
            if scalar
        }
        # The first answer to each question, since intervals are over questions.
        groups = [
            trait.answers[each][:: settings.sampling.samples]
            for each in (UNSTEERED, *conditions.values())
        ]
        flat = [answer for group in groups for answer in group]
        with progress_bar(f"{trait.vector.trait_name}: other traits' scores", len(flat)) as on_done:
            for subject in subjects:
                scores = iter(
                    stored_scores(
                        judge,
                        subject.definition,
                        [answer.question for answer in flat],
                        [answer.text for answer in flat],
                        store,
                        on_done,
                    )
                )
                before, *after = ([next(scores) for _ in group] for group in groups)
                for scalar, steered in zip(conditions, after, strict=True):
                    found.append(
                        movement(
                            trait.vector.trait_name,
                            subject.definition.trait_name,
                            scalar,
                            before,
                            steered,
                            settings.sampling.seed,
                        )
                    )
    return found
