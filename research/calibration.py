"""Calibrates a vector: measures which projections onto it are usual on its model.

The model answers the trait's questions under the trait's positive and negative system prompts, and
these and everyday ones without a system prompt, all of it without steering. No judge is needed: the
answers' hidden states are projected onto the vector's directions, in a forward pass of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from persona_research.answering import stored_answers
from persona_research.definitions import TraitDefinition
from persona_research.errors import ResearchError
from persona_research.model import ResearchModel
from persona_research.neutral_questions import NEUTRAL_QUESTIONS
from persona_research.plain_pass import Pair
from persona_research.progress import AnswerStore, OnDone, progress_bar
from persona_research.turns import AnswerSettings, Turn, turns_of
from triton_models.vectors.calibration import (
    BlockCalibration,
    Calibration,
    Distribution,
    Projections,
)
from triton_models.vectors.calibration_document import CALIBRATION, calibration_document
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.registry import ModelFit

NEUTRAL_QUANTILES = 101
"""One for each percentile."""

POLE_QUANTILES = 21
"""Fewer, since no percentile is taken of them: they are for people."""


class CalibrationError(ResearchError):
    """A vector cannot be calibrated; the message says why."""


def with_calibration(vector: PersonaVector, calibration: Calibration) -> PersonaVector:
    """Returns the vector with a calibration in its metadata, in place of one that it had."""
    metadata = {**vector.metadata, CALIBRATION: calibration_document(calibration)}
    return dataclasses.replace(vector, metadata=metadata)


def calibrate(
    model: ResearchModel,
    vector: PersonaVector,
    definition: TraitDefinition,
    settings: AnswerSettings,
    store: AnswerStore,
) -> Calibration:
    """Calibrates a vector at every block at which it has a direction.

    Answers that the store has are not generated again: after an extraction with the same settings
    these are all but the neutral ones.

    Raises:
        CalibrationError: The vector is zero, or every answer of a condition is empty.
        VectorFileError: The vector does not fit the model.
    """
    ModelFit(model.name, model.hidden_size, model.num_layers).check(vector)
    directions = _directions(vector)
    own = definition.evaluation_questions
    everyday = NEUTRAL_QUESTIONS[: settings.neutral_questions]
    turns = {
        "neutral": turns_of(("",), tuple(dict.fromkeys((*own, *everyday))), settings),
        "positive": turns_of(definition.positive_prompts, own, settings),
        "negative": turns_of(definition.negative_prompts, own, settings),
    }
    num_turns = sum(map(len, turns.values()))
    with progress_bar(f"{vector.trait_name}: answers", num_turns) as show:
        answers, done = {}, 0
        for condition, asked in turns.items():
            answers[condition] = _answers(model, asked, settings, store, done, show)
            done += len(asked)
    for condition, pairs in answers.items():
        if not pairs:
            raise CalibrationError(
                f"{vector.trait_name}: every answer under the {condition} prompts is empty: there "
                "is nothing to calibrate with"
            )
    together = [pair for pairs in answers.values() for pair in pairs]
    with progress_bar(f"{vector.trait_name}: projections", len(together)) as show:
        found = iter(model.projections(together, directions, show))
    projections = {condition: [next(found) for _ in pairs] for condition, pairs in answers.items()}
    return Calibration(
        vector.trait_name,
        model.described,
        num_answers=len(together),
        num_tokens=sum(len(response) for _, response in together),
        seed=settings.seed,
        blocks={
            block: BlockCalibration(
                neutral=_summary([each[row] for each in projections["neutral"]], NEUTRAL_QUANTILES),
                positive=_summary([each[row] for each in projections["positive"]], POLE_QUANTILES),
                negative=_summary([each[row] for each in projections["negative"]], POLE_QUANTILES),
            )
            for row, block in enumerate(directions)
        },
    )


def _directions(vector: PersonaVector) -> dict[int, NDArray[np.float32]]:
    """Returns the unit vector of each block whose vector is not zero."""
    directions = {
        block: vector.blocks[block] / np.float32(norm)
        for block, norm in vector.norms.items()
        if norm
    }
    if not directions:
        raise CalibrationError(f"{vector.trait_name}: the vector is zero at every block")
    return directions


def _answers(
    model: ResearchModel,
    turns: Sequence[Turn],
    settings: AnswerSettings,
    store: AnswerStore,
    before: int,
    on_done: OnDone,
) -> list[Pair]:
    """Returns the prompts and responses that are not empty; `before` are done already."""
    requests = [turn.request(model, settings) for turn in turns]
    answers = stored_answers(model, requests, store, lambda done: on_done(before + done))
    return [(each.prompt_ids, each.response_ids) for each in answers if each.response_ids]


def _summary(answers: list[NDArray[np.float32]], num_quantiles: int) -> Projections:
    """Returns how the projections, [tokens] of each answer, are distributed."""
    means = np.array([each.mean(dtype=np.float64) for each in answers])
    return Projections(
        tokens=Distribution.of(np.concatenate(answers), num_quantiles),
        answers=Distribution.of(means, num_quantiles),
    )
