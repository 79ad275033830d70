"""Extracts a trait's vector from a model by the mean-difference method.

The model answers the same questions under system prompts that ask for the trait and under system
prompts that ask for its opposite. A judge scores the answers, and pairs in which one does not show
what it was asked for are left out. The vector of a decoder block is the mean residual at the
block's output over the answers with the trait, less the mean over the answers without it. The
activations are read in a forward pass of their own, so that nothing but the answers' own tokens can
leak into the means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from persona_research.answering import check_judge, judged_answers
from persona_research.calibration import calibrate, with_calibration
from persona_research.definitions import TraitDefinition
from persona_research.errors import ResearchError
from persona_research.judges.judge import POINTS, Judge, Scale
from persona_research.model import Answer, ResearchModel
from persona_research.progress import AnswerStore, progress_bar
from persona_research.residuals import ResidualMeans
from persona_research.split_halves import poles_of, split_half_cosines
from persona_research.turns import AnswerSettings, turns_of
from triton_models.vectors.persona_vector import PersonaVector

METHOD = "mean difference of residuals over response tokens"

LEAST_PAIRS = 10
"""A mean over fewer is more about these answers than about the trait."""

SPLIT_HALF = "split_half_cosines"
"""What in a vector's metadata says how far two halves of the pairs agree on it, by block."""

SELECTED_AS_GIVEN = "given"
SELECTED_BY_NORM = "largest norm relative to the residual's, in the middle third of the blocks"


class ExtractionError(ResearchError):
    """There is nothing to make a vector of; the message says why."""


@dataclass(frozen=True)
class ExtractionSettings(AnswerSettings):
    """How to extract.

    Attributes:
        selected_layers: Blocks to steer by default; empty leaves the choice to a rule.
        scale: Factor on every vector, so that scalars have a convenient range.
        least_pairs: How many pairs of answers must pass the filter.
    """

    selected_layers: tuple[int, ...] = ()
    scale: float = 1.0
    least_pairs: int = field(default=LEAST_PAIRS, kw_only=True)


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer of the extraction, its score if a judge gave one, and whether it counts."""

    system_prompt: str
    question: str
    answer: Answer
    score: float | None
    kept: bool


@dataclass(frozen=True)
class Extraction:
    """A vector and what it was made of."""

    vector: PersonaVector
    positive: tuple[JudgedAnswer, ...]
    negative: tuple[JudgedAnswer, ...]
    scale: Scale | None
    """What the scores mean, if there are any."""


def extract(
    model: ResearchModel,
    definition: TraitDefinition,
    settings: ExtractionSettings,
    judge: Judge | None,
    store: AnswerStore,
) -> Extraction:
    """Extracts a trait's vectors, one for every decoder block, and calibrates them.

    Raises:
        CalibrationError: Every answer without a system prompt is empty.
        ExtractionError: The judge gave no score, or no pair of answers passes, or a selected layer
            is not among the model's blocks.
        JudgeError: The judge cannot judge.
    """
    _check_layers(settings.selected_layers, model.num_layers)
    if judge is not None:
        check_judge(judge, definition)
    prompts_by_pole = definition.positive_prompts, definition.negative_prompts
    turns = [
        turn
        for prompts in prompts_by_pole
        for turn in turns_of(prompts, definition.evaluation_questions, settings)
    ]
    requests = [turn.request(model, settings) for turn in turns]
    questions = [turn.question for turn in turns]
    answers, scores = judged_answers(model, requests, judge, definition, questions, store)
    if judge is not None:
        _check_scores(judge, scores)
    each = len(definition.evaluation_questions) * settings.samples
    first = len(prompts_by_pole[0]) * each
    pairs = _pair_places((len(prompts_by_pole[0]), len(prompts_by_pole[1])), each)
    kept = {
        place
        for pair in pairs
        if all(answers[place].response_ids for place in pair)
        and (judge is None or _separates(judge.scale, *(scores[place] for place in pair)))
        for place in pair
    }
    judged = [
        JudgedAnswer(turn.system_prompt, turn.question, answer, score, number in kept)
        for number, (turn, answer, score) in enumerate(zip(turns, answers, scores, strict=True))
    ]
    positive, negative = tuple(judged[:first]), tuple(judged[first:])
    if not kept:
        scale = judge.scale if judge is not None else POINTS
        raise ExtractionError(
            _why_nothing_is_left(definition.trait_name, positive, negative, scale)
        )
    kept_pairs = sum(pair[0] in kept for pair in pairs)
    _check_pairs(definition.trait_name, kept_pairs, len(pairs), settings.least_pairs)
    with progress_bar(f"{definition.trait_name}: activations", len(kept)) as show:
        # By every second question, so that both answers of a pair are in the same half.
        halves = [(_pairs(positive, each, half), _pairs(negative, each, half)) for half in (0, 1)]
        first_half = poles_of(model, *halves[0], show, 0)
        second_half = poles_of(model, *halves[1], show, first_half.num_answers)
    poles = first_half + second_half
    vector = _vector(model, definition, settings, poles.positive, poles.negative)
    vector.metadata.update(
        {
            "judge": judge.name if judge is not None else None,
            "answers": {"positive": counts(positive), "negative": counts(negative)},
            "pairs": {"kept": kept_pairs, "all": len(pairs)},
            SPLIT_HALF: split_half_cosines(first_half, second_half),
        }
    )
    calibration = calibrate(model, vector, definition, settings, store)
    return Extraction(
        with_calibration(vector, calibration),
        positive,
        negative,
        judge.scale if judge is not None else None,
    )


def counts(answers: Sequence[JudgedAnswer]) -> dict[str, int]:
    """The numbers of a pole's answers: generated, kept, dropped, and without a score."""
    kept = sum(each.kept for each in answers)
    return {
        "generated": len(answers),
        "kept": kept,
        "dropped": len(answers) - kept,
        "unparsable": sum(each.score is None for each in answers),
    }


def default_layers(norms: dict[int, float], residual_norms: dict[int, float]) -> tuple[int, ...]:
    """Chooses the block to steer where none was measured to steer best.

    Early blocks hold words more than meaning, and late ones leave the model no room to act on what
    is added: of the middle third, it is the block whose vector is largest beside its residual.
    """
    num_layers = len(norms)
    start = num_layers // 3
    middle = range(start, max(2 * num_layers // 3, start + 1))
    return (max(middle, key=lambda block: norms[block] / residual_norms[block]),)


def _separates(scale: Scale, positive: float | None, negative: float | None) -> bool:
    return positive is not None and negative is not None and scale.separates(positive, negative)


def _pair_places(prompts: tuple[int, int], each: int) -> list[tuple[int, int]]:
    """The places, among all answers with the positive ones first, of the answers of each pair.

    A pair has one question, so that leaving out pairs never leaves one pole with other questions
    than the other. The poles' system prompts are paired in order; the shorter list starts again.

    Args:
        prompts: The numbers of the poles' system prompts.
        each: How many answers each prompt has.
    """
    return [
        (
            number % prompts[0] * each + rest,
            (prompts[0] + number % prompts[1]) * each + rest,
        )
        for number in range(max(prompts))
        for rest in range(each)
    ]


def _check_pairs(trait: str, kept: int, pairs: int, least: int) -> None:
    if kept < least:
        raise ExtractionError(
            f"{trait}: {kept} of {pairs} pairs of answers pass the filter, and a vector of fewer "
            f"than {least} is not to be trusted: improve the prompts, add questions, or use "
            f"another judge; --least-pairs {kept} makes it all the same"
        )


def _pairs(
    answers: Sequence[JudgedAnswer], each: int, half: int
) -> list[tuple[list[int], list[int]]]:
    return [
        (judged.answer.prompt_ids, judged.answer.response_ids)
        for place, judged in enumerate(answers)
        if judged.kept and place % each % 2 == half
    ]


def _vector(
    model: ResearchModel,
    definition: TraitDefinition,
    settings: ExtractionSettings,
    positive: ResidualMeans,
    negative: ResidualMeans,
) -> PersonaVector:
    blocks = {
        block: (settings.scale * (positive.mean(block) - negative.mean(block))).astype(np.float32)
        for block in sorted(positive.sums)
    }
    norms = {block: float(np.linalg.norm(vector)) for block, vector in blocks.items()}
    residual_norms = {
        block: (positive.mean_norm(block) + negative.mean_norm(block)) / 2 for block in blocks
    }
    given = settings.selected_layers
    metadata: dict[str, Any] = {
        "method": METHOD,
        "scale": settings.scale,
        "samples": {"positive": positive.answers, "negative": negative.answers},
        "response_tokens": {"positive": positive.tokens, "negative": negative.tokens},
        "norms": {str(block): round(norm, 4) for block, norm in norms.items()},
        "residual_norms": {str(block): round(norm, 4) for block, norm in residual_norms.items()},
        "max_new_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "seed": settings.seed,
        "dtype": model.dtype,
        "selected_layers": sorted(given or default_layers(norms, residual_norms)),
        "selected_by": SELECTED_AS_GIVEN if given else SELECTED_BY_NORM,
    }
    return PersonaVector(definition.trait_name, model.name, blocks, metadata)


def _check_layers(layers: Sequence[int], num_layers: int) -> None:
    unknown = sorted(layer for layer in set(layers) if not 0 <= layer < num_layers)
    if unknown:
        raise ExtractionError(
            f"selected layers {unknown} are not among the model's blocks, 0 to {num_layers - 1}"
        )


def _check_scores(judge: Judge, scores: Sequence[float | None]) -> None:
    if all(score is None for score in scores):
        raise ExtractionError(
            f"the judge ({judge.name}) gave no score that could be read for any of "
            f"{len(scores)} answers: use another judge, or --no-filter to do without one"
        )


def _why_nothing_is_left(
    trait: str, positive: Sequence[JudgedAnswer], negative: Sequence[JudgedAnswer], scale: Scale
) -> str:
    if not any(each.answer.response_ids for each in (*positive, *negative)):
        return f"{trait}: every answer was empty: there is nothing to extract a vector from"
    means = []
    for answers in (positive, negative):
        scores = [each.score for each in answers if each.score is not None]
        means.append(f"{sum(scores) / len(scores):{scale.form}}" if scores else "not known")
    above, below = "be above the negative answer's", "be below the positive answer's"
    if scale.neutral is not None:
        above, below = (f"be {side} {scale.neutral:g}" for side in ("above", "below"))
    return (
        f"{trait}: no pair of answers passes the filter: the mean {scale.name} is {means[0]} under "
        f"the positive system prompts (must {above}) and {means[1]} under the negative ones (must "
        f"{below}): improve the prompts, use another judge, or --no-filter"
    )
