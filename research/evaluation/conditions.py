"""Answers to the same questions under many conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from persona_research.answering import chat, derived_seed, stored_answers
from persona_research.divergence import Deltas, Departure
from persona_research.model import Answer, AnswerRequest, ResearchModel
from persona_research.progress import AnswerStore, OnDone, ignore_progress
from persona_research.turns import check_samples
from triton_models.vectors.persona_vector import PersonaVector


@dataclass(frozen=True, slots=True)
class Condition:
    """What questions are answered under; they take its system prompts, if it has any, in turn."""

    blocks: tuple[int, ...] = ()
    scalar: float = 0.0
    system_prompts: tuple[str, ...] = ()


UNSTEERED = Condition()


def steered(blocks: tuple[int, ...], scalar: float) -> Condition:
    """Returns the condition at a scalar, which at 0 is the same whatever the blocks."""
    return Condition(blocks, scalar) if scalar else UNSTEERED


@dataclass(frozen=True, slots=True)
class EvaluationSampling:
    """How answers are generated.

    Attributes:
        temperature: 0 takes the likeliest token.
        seed: What each answer's own seed is derived from; a question has the same one under every
            condition.
        samples: Answers to each question; more than 1 needs a temperature.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    samples: int = 1

    def __post_init__(self) -> None:
        check_samples(self.samples, self.temperature)


Answers = Mapping[Condition, Sequence[Answer]]
"""For each condition the answers to every question, in the questions' order."""


def answer_questions(
    model: ResearchModel,
    vector: PersonaVector,
    questions: Sequence[str],
    conditions: Sequence[Condition],
    sampling: EvaluationSampling,
    store: AnswerStore,
    on_done: OnDone = ignore_progress,
) -> dict[Condition, list[Answer]]:
    """Answers every question under every condition; the model then has `vector` and no other."""
    model.set_vectors({vector.trait_name: vector})
    asked = [
        (place, question, sample)
        for place, question in enumerate(questions)
        for sample in range(sampling.samples)
    ]
    requests = [
        _request(model, vector.trait_name, *each, condition, sampling)
        for condition in conditions
        for each in asked
    ]
    answers = iter(stored_answers(model, requests, store, on_done))
    return {condition: [next(answers) for _ in asked] for condition in conditions}


def departures(
    model: ResearchModel,
    vector: PersonaVector,
    prompts: Sequence[list[int]],
    answers: Answers,
) -> list[Departure]:
    """How far each answer under its condition is from the model that is only asked the question.

    Args:
        model: The model.
        vector: What the conditions steer by.
        prompts: The questions alone, in their order.
        answers: The answers; the end of one that ended by itself counts as a token of it.

    Returns:
        Those of all conditions, in their order.
    """
    deltas = [_added(vector, condition) for condition, group in answers.items() for _ in group]
    pairs = [
        (answer.prompt_ids, tokens_of(model, answer))
        for group in answers.values()
        for answer in group
    ]
    return model.departures(pairs, deltas, [*prompts] * len(answers))


def _added(vector: PersonaVector, condition: Condition) -> Deltas:
    scalar = np.float32(condition.scalar)
    return {block: scalar * vector.blocks[block] for block in condition.blocks}


def tokens_of(model: ResearchModel, answer: Answer) -> list[int]:
    """An answer's tokens with its end, if it ended by itself."""
    end = model.tokenizer.end_id if answer.ended else None
    return [*answer.response_ids, *([] if end is None else [end])]


def _request(
    model: ResearchModel,
    trait: str,
    place: int,
    question: str,
    sample: int,
    condition: Condition,
    sampling: EvaluationSampling,
) -> AnswerRequest:
    prompts = condition.system_prompts
    steers = condition.scalar != 0
    return AnswerRequest(
        prompt_ids=model.encode_chat(
            chat(question, prompts[place % len(prompts)] if prompts else "")
        ),
        scalars={trait: condition.scalar} if steers else {},
        layers=condition.blocks if steers else None,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        # The first is as it was before there could be several, for the answers that are kept.
        seed=derived_seed(sampling.seed, "evaluation", question, *([sample] if sample else [])),
    )
