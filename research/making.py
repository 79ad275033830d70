"""Makes one trait's vector from its definition: extracts, chooses the block, measures the range.

The block is chosen among a few with few questions and two doses each way, since every block would
take as many answers again. The range is then measured at that block with all of them. Where a
contrast judge only sorts answers or blocks, one pair of its prompts does: it takes longer than the
answers do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from persona_research.answering import chat
from persona_research.definitions import TraitDefinition, with_one_judge_pair
from persona_research.errors import ResearchError
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.evaluation.trait_evaluation import (
    EvaluationError,
    EvaluationSettings,
    TraitEvaluation,
    evaluate_trait,
)
from persona_research.evaluation.unit_scale import STEPS
from persona_research.extraction import ExtractionSettings
from persona_research.judges import Judge
from persona_research.model import ResearchModel
from persona_research.neutral_questions import NEUTRAL_QUESTIONS
from persona_research.progress import AnswerStore
from persona_research.workload import Workload
from triton_models.vectors.editing import with_selected
from triton_models.vectors.persona_vector import PersonaVector

COMPARED_QUESTIONS = 6
COMPARED_DOSES = (0.15, 0.3)
"""What the blocks are compared with: of the doses the two between hardly felt and destructive."""

COMPARED_BLOCKS = 5

MEASURED_QUESTIONS = 10
"""What the range is measured with, where nobody says: a judge takes longer than the answers do."""

_CONDITIONS = 3
"""What an evaluation asks without steering: nothing, for the trait, and for its opposite."""

_PASSES = 2
"""Over the answers of an extraction: for the means, and for the calibration's projections."""

_EVALUATION_PASSES = 2
"""Over those of an evaluation: steered and unsteered, side by side."""


class MakingError(ResearchError):
    """Not every vector could be made; the message says which, and why."""


@dataclass(frozen=True)
class MakeSettings:
    """How to make a vector.

    Attributes:
        compared: How the blocks are compared, which are `blocks_to_compare` unless it says others.
        evaluation: How the chosen block is measured.
    """

    extraction: ExtractionSettings
    compared: EvaluationSettings
    evaluation: EvaluationSettings


def make_settings(
    max_new_tokens: int = 60,
    temperature: float = 0.0,
    seed: int = 0,
    neutral_questions: int = len(NEUTRAL_QUESTIONS),
    questions: int = MEASURED_QUESTIONS,
) -> MakeSettings:
    """Settings whose answers are all alike; `questions` measure the range, 0 is all of them."""
    sampling = EvaluationSampling(max_new_tokens, temperature, seed)
    return MakeSettings(
        ExtractionSettings(
            max_new_tokens, temperature, seed=seed, neutral_questions=neutral_questions
        ),
        EvaluationSettings(
            questions=min(questions or COMPARED_QUESTIONS, COMPARED_QUESTIONS),
            sampling=sampling,
            doses=COMPARED_DOSES,
            find_unit_scale=False,
        ),
        EvaluationSettings(blocks="selected", questions=questions, sampling=sampling),
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """An extracted vector's evaluations: of the compared blocks, and of the chosen one."""

    compared: TraitEvaluation
    chosen: TraitEvaluation


def blocks_to_compare(num_layers: int) -> tuple[int, ...]:
    """A few blocks, evenly spaced over the middle half.

    Early blocks hold words more than meaning, and late ones leave the model no room to act on what
    is added. Neighbours steer alike.
    """
    middle = range(num_layers // 4, max(num_layers - num_layers // 4, 1))
    count = min(COMPARED_BLOCKS, len(middle))
    step = (len(middle) - 1) / max(count - 1, 1)
    return tuple(middle[round(place * step)] for place in range(count))


def measure(
    model: ResearchModel,
    judge: Judge,
    vector: PersonaVector,
    definition: TraitDefinition,
    settings: MakeSettings,
    store: AnswerStore,
) -> Measured:
    """Chooses the block to steer, and measures the range of scalars there.

    Raises:
        EvaluationError: No block turns the trait, or the vector cannot be evaluated.
        JudgeError: The judge cannot judge.
    """
    blocks = _compared_blocks(settings, model.num_layers)
    compared_settings = dataclasses.replace(settings.compared, blocks=blocks)
    sorting = with_one_judge_pair(definition)
    compared = evaluate_trait(model, judge, vector, sorting, compared_settings, store)
    chosen = _chosen_blocks(compared)
    selected = with_selected(vector, chosen)
    found = evaluate_trait(model, judge, selected, definition, settings.evaluation, store)
    _chosen_blocks(found)
    return Measured(compared, found)


def workload(model: ResearchModel, definition: TraitDefinition, settings: MakeSettings) -> Workload:
    """What making a trait's vector takes at most."""
    own = definition.evaluation_questions
    extraction = settings.extraction
    everyday = NEUTRAL_QUESTIONS[: extraction.neutral_questions]

    def lengths(system_prompts: tuple[str, ...], questions: tuple[str, ...]) -> list[int]:
        return [
            len(model.encode_chat(chat(question, prompt)))
            for prompt in system_prompts
            for question in questions
        ]

    poles = lengths((*definition.positive_prompts, *definition.negative_prompts), own)
    neutral = lengths(("",), (*own, *everyday))
    tokens = extraction.max_new_tokens
    prompts = definition.judge_prompts
    sorting = 1 / len(prompts.positive) if prompts else 1.0
    total = Workload.of_answers(poles, extraction.samples, tokens, _PASSES, sorting)
    total += Workload.of_answers(neutral, extraction.samples, tokens, 1, 0.0)
    for evaluation, curves, judging in (
        (settings.compared, len(_compared_blocks(settings, model.num_layers)), sorting),
        (settings.evaluation, 1, 1.0),
    ):
        asked = lengths(("",), own[: evaluation.questions or None])
        doses = len(evaluation.scalars) or 2 * len(evaluation.doses)
        tokens = evaluation.sampling.max_new_tokens
        # For the scalars that do as much as asking for either pole.
        searched = 2 * STEPS if evaluation.find_unit_scale else 0
        conditions = _CONDITIONS + curves * doses + searched
        total += Workload.of_answers(asked, conditions, tokens, _EVALUATION_PASSES, judging)
    return total


def _compared_blocks(settings: MakeSettings, num_layers: int) -> tuple[int, ...]:
    blocks = settings.compared.blocks
    return blocks if isinstance(blocks, tuple) else blocks_to_compare(num_layers)


def _chosen_blocks(evaluation: TraitEvaluation) -> tuple[int, ...]:
    chosen = evaluation.choice.chosen
    if chosen is None:
        tried = ", ".join(str(block) for curve in evaluation.curves for block in curve.blocks)
        raise EvaluationError(
            f"{evaluation.vector.trait_name}: at none of the blocks {tried} does steering turn the "
            "trait while the text holds: try other system prompts, or another judge"
        )
    return chosen.blocks
