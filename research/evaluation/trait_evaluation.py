"""The evaluation of one vector: its answers, what they measure, and what is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from persona_research.answering import chat, stored_scores
from persona_research.definitions import TraitDefinition
from persona_research.errors import ResearchError
from persona_research.evaluation.choice import Asked, Choice, ChoiceRule, choose, in_units
from persona_research.evaluation.conditions import (
    UNSTEERED,
    Answers,
    Condition,
    EvaluationSampling,
    answer_questions,
    departures,
    steered,
    tokens_of,
)
from persona_research.evaluation.control import random_vector
from persona_research.evaluation.doses import (
    Dose,
    DoseCurve,
    MeasuredAnswer,
    residual_share,
    summarise,
)
from persona_research.evaluation.grid import DOSES, default_scalars
from persona_research.evaluation.repetition import repetition
from persona_research.evaluation.unit_scale import find_unit_scale
from persona_research.judges import Judge, Scale
from persona_research.model import Answer, ResearchModel
from persona_research.progress import AnswerStore, OnDone, ignore_progress, progress_bar
from triton_models.contract.steering import ScalarUnit
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.unit_scale import UnitScale, raw_scalar

Blocks = Literal["all", "selected"] | tuple[int, ...]


class EvaluationError(ResearchError):
    """A vector cannot be evaluated as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How to evaluate.

    Attributes:
        scalars: The scalars to try, 0 added if missing; empty chooses them by the vector's norms,
            so that they add about `doses`, shares of the residual stream's norm.
        blocks: The blocks to try, each alone: all that the vector has or these; or `selected`, the
            selected blocks, together only.
        questions: How many of the definition's questions to ask, from the first; 0 asks all.
        unit: What `scalars` count.
        control: Whether to measure a random vector of the same norms at the ends of the range, too.
        find_unit_scale: Whether to look for the scalars that do as much as asking, which takes up
            to four scalars more.
    """

    scalars: tuple[float, ...] = ()
    blocks: Blocks = "all"
    questions: int = 0
    sampling: EvaluationSampling = field(default_factory=EvaluationSampling)
    rule: ChoiceRule = field(default_factory=ChoiceRule)
    doses: tuple[float, ...] = DOSES
    find_unit_scale: bool = True
    unit: ScalarUnit = "raw"
    control: bool = False


MeasuredAnswers = Mapping[Condition, Sequence[MeasuredAnswer]]


@dataclass(frozen=True, slots=True)
class TraitEvaluation:
    """What was found out about one vector.

    Attributes:
        scale: What the judge's scores mean.
        residual_norms: The mean norm of the residual stream at the output of each of the vector's
            blocks, over the tokens of the unsteered answers.
        answers: Every answer with its measures, by condition, in the order of the questions.
        curves: The tried blocks, each alone; then the selected blocks together, if several.
        unit_scale: What does as much as asking, at the chosen blocks or the only ones tried. A
            judge whose scores have ends cannot tell: at an end all answers are as good.
        control: What a random vector of the same norms does at the ends of the range, if asked for.
    """

    vector: PersonaVector
    judge: str
    scale: Scale
    residual_norms: Mapping[int, float]
    answers: MeasuredAnswers
    curves: tuple[DoseCurve, ...]
    asked: Asked
    choice: Choice
    unit_scale: UnitScale | None = None
    control: tuple[Dose, ...] = ()

    @property
    def num_questions(self) -> int:
        """How many questions were asked, each under every condition."""
        return len({answer.question for answer in self.answers[UNSTEERED]})

    @property
    def chosen_curve(self) -> DoseCurve | None:
        """The curve of the chosen blocks."""
        chosen = self.choice.chosen
        if chosen is None:
            return None
        return next(curve for curve in self.curves if curve.blocks == chosen.blocks)


def evaluate_trait(
    model: ResearchModel,
    judge: Judge,
    vector: PersonaVector,
    definition: TraitDefinition,
    settings: EvaluationSettings,
    store: AnswerStore,
) -> TraitEvaluation:
    """Evaluates one vector.

    Raises:
        EvaluationError: The vector does not fit the model, or lacks a block that was asked for.
        JudgeError: The judge cannot judge.
        RequestError: A scalar is too large or too small for the model's dtype, or in a unit that
            was not measured.
    """
    curves_blocks = blocks_to_try(vector, settings.blocks)
    _check_fit(vector, model)
    given = {blocks: _raw_scalars(vector, blocks, settings, model) for blocks in curves_blocks}
    questions = definition.evaluation_questions[: settings.questions or None]
    # As often as it is answered.
    asked_questions = [each for each in questions for _ in range(settings.sampling.samples)]
    trait = vector.trait_name

    def answer(
        conditions: Sequence[Condition], title: str, by: PersonaVector = vector
    ) -> dict[Condition, list[Answer]]:
        with progress_bar(f"{trait}: {title}", len(asked_questions) * len(conditions)) as on_done:
            return answer_questions(
                model, by, questions, conditions, settings.sampling, store, on_done
            )

    for_trait = Condition(system_prompts=definition.positive_prompts)
    for_opposite = Condition(system_prompts=definition.negative_prompts)
    answers = answer([UNSTEERED, for_trait, for_opposite], "unsteered answers")
    residual_norms = _residual_norms(model, answers[UNSTEERED], vector)
    shares = {blocks: residual_share(vector, blocks, residual_norms) for blocks in curves_blocks}
    usual = default_scalars(list(shares.values()), settings.doses)
    scalars = {blocks: sorted({0.0, *(given[blocks] or usual)}) for blocks in curves_blocks}
    conditions = {
        (blocks, scalar): steered(blocks, scalar)
        for blocks in curves_blocks
        for scalar in scalars[blocks]
    }
    new = [condition for condition in conditions.values() if condition is not UNSTEERED]
    answers |= answer(new, "steered answers")
    with progress_bar(f"{trait}: scores", len(asked_questions) * len(answers)) as on_done:
        measured = measure(
            model, judge, vector, definition, asked_questions, answers, store, on_done
        )

    seed = settings.sampling.seed
    curves = tuple(
        DoseCurve(
            blocks,
            tuple(summarise(s, measured[conditions[blocks, s]], seed) for s in scalars[blocks]),
            shares[blocks],
        )
        for blocks in curves_blocks
    )
    asked = Asked(
        summarise(0.0, measured[for_trait], seed), summarise(0.0, measured[for_opposite], seed)
    )
    rule = in_units(settings.rule, judge.scale, asked)
    choice = choose(curves, asked, rule)
    found = TraitEvaluation(
        vector, judge.name, judge.scale, residual_norms, measured, curves, asked, choice
    )

    def measured_at(condition: Condition, by: PersonaVector) -> list[MeasuredAnswer]:
        answers = answer([condition], f"answers at {condition.scalar:+g}", by)
        return measure(model, judge, by, definition, asked_questions, answers, store)[condition]

    if settings.control and choice.chosen is not None:
        blocks, span = choice.chosen.blocks, choice.chosen.range
        control = random_vector(vector, seed)
        doses = [
            summarise(scalar, measured_at(Condition(blocks, scalar), control), seed)
            for scalar in (span.low, span.high)
            if scalar
        ]
        found = dataclasses.replace(found, control=tuple(doses))
    curve = found.chosen_curve if len(curves) > 1 else curves[0]
    if curve is None or judge.scale.span is not None or not settings.find_unit_scale:
        return found

    def dose(scalar: float) -> Dose:
        condition = Condition(curve.blocks, scalar)
        measured[condition] = measured_at(condition, vector)
        return summarise(scalar, measured[condition], seed)

    return dataclasses.replace(found, unit_scale=find_unit_scale(curve, asked, rule, dose))


def _raw_scalars(
    vector: PersonaVector,
    blocks: Sequence[int],
    settings: EvaluationSettings,
    model: ResearchModel,
) -> Sequence[float]:
    if settings.unit == "raw":
        return settings.scalars
    return [raw_scalar(vector, blocks, each, model.described) for each in settings.scalars]


def measure(
    model: ResearchModel,
    judge: Judge,
    vector: PersonaVector,
    definition: TraitDefinition,
    questions: Sequence[str],
    answers: Answers,
    store: AnswerStore,
    on_done: OnDone = ignore_progress,
) -> dict[Condition, list[MeasuredAnswer]]:
    """Measures answers, of which there is one for each of `questions` under each condition.

    Their surprise and their divergence are taken from the model as it is, asked the question
    alone, whatever they were generated under.
    """
    flat = [answer for group in answers.values() for answer in group]
    asked = [question for _ in answers for question in questions]
    prompts = [model.encode_chat(chat(question)) for question in questions]
    texts = [answer.text for answer in flat]
    scores = stored_scores(judge, definition, asked, texts, store, on_done)
    found = departures(model, vector, prompts, answers)
    measured = iter(
        [
            MeasuredAnswer(
                question=question,
                text=answer.text,
                score=score,
                loss=departure.loss,
                loss_tokens=len(tokens_of(model, answer)),
                repetition=repetition(answer.text),
                tokens=len(answer.response_ids),
                ended=answer.ended,
                divergence=departure.divergence,
            )
            for question, answer, score, departure in zip(asked, flat, scores, found, strict=True)
        ]
    )
    return {condition: [next(measured) for _ in group] for condition, group in answers.items()}


def blocks_to_try(vector: PersonaVector, blocks: Blocks) -> tuple[tuple[int, ...], ...]:
    """The sets of blocks to make curves of.

    Raises:
        EvaluationError: The vector has nothing to add at a block, or at all.
    """
    usable = [block for block, norm in vector.norms.items() if norm]
    if not usable:
        raise EvaluationError(f"the vector of {vector.trait_name!r} is zero everywhere")
    if blocks == "selected":
        return (vector.selected_blocks,)
    alone = usable if blocks == "all" else sorted(set(blocks))
    if missing := set(alone) - set(usable):
        raise EvaluationError(
            f"the vector of {vector.trait_name!r} has nothing at blocks {sorted(missing)}: "
            f"it has {usable}"
        )
    selected = vector.metadata.get("selected_layers")
    together = [vector.selected_blocks] if selected and len(vector.selected_blocks) > 1 else []
    return (*((block,) for block in alone), *together)


def _check_fit(vector: PersonaVector, model: ResearchModel) -> None:
    if vector.hidden_size != model.hidden_size:
        raise EvaluationError(
            f"the vector of {vector.trait_name!r} has {vector.hidden_size} elements, but the "
            f"hidden size of {model.name} is {model.hidden_size}: it was made for another model"
        )
    if outside := [block for block in vector.blocks if block >= model.num_layers]:
        raise EvaluationError(
            f"the vector of {vector.trait_name!r} is for blocks {outside} as well, but those of "
            f"{model.name} are 0 to {model.num_layers - 1}"
        )


def _residual_norms(
    model: ResearchModel, answers: Sequence[Answer], vector: PersonaVector
) -> dict[int, float]:
    means = model.residual_means([(answer.prompt_ids, answer.response_ids) for answer in answers])
    if not means.answers:
        raise EvaluationError(f"every unsteered answer of {model.name} is empty")
    return {block: means.mean_norm(block) for block in sorted(vector.blocks)}
