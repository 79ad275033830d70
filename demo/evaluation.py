"""Measures how far a vector turns a trait on held-out prompts, and what that does to the text.

This is what only the demo can have: prompts that training never saw, and a grammar that says
whether a sentence is well-formed. `persona_research.evaluation` makes answers and perplexities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

from persona_demo.grammar import well_formed_share
from persona_demo.questions import Prompt
from persona_demo.score import SHOWS_AT, trait_score
from persona_demo.traits import TRAITS
from persona_research.evaluation.conditions import (
    Condition,
    Sampling,
    answer_questions,
    chat,
    unsteered_losses,
)
from persona_research.model import Answer, ResearchModel
from persona_research.progress import AnswerStore
from triton_models.vectors.persona_vector import PersonaVector

SCALARS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SAMPLING = Sampling(max_new_tokens=120)


@dataclass(frozen=True)
class Perplexities:
    """Perplexities per token of steered answers for the unsteered model.

    Attributes:
        plain: Given the same prompt, so that the model expects plain text.
        styled: Given a system prompt that asks for the pole steered to as well.
    """

    plain: float = math.nan
    styled: float = math.nan


UNKNOWN = Perplexities()


@dataclass(frozen=True)
class Measurement:
    """What a set of answers to held-out prompts looks like at one scalar.

    Attributes:
        trait: The trait steered and scored.
        scalar: The scalar.
        prompts: How many prompts were answered.
        score: Mean trait score, -1 to 1.
        shows: Share of answers that show the trait (score at least 0.5).
        opposite: Share of answers that show the opposite (score at most -0.5).
        plain: Share of answers whose score is 0.
        well_formed: Mean share of sentences that are grammatical, about the prompt's topic, and
            not said twice.
        ended: Share of answers that ended by themselves.
        tokens: Mean length in tokens.
        distinct: Share of answers that are unlike every other once the topic is taken out.
        perplexity: Perplexity given the same prompt; NaN when it was not measured.
        styled_perplexity: Perplexity given a system prompt that asks for the style, or NaN.
    """

    trait: str
    scalar: float
    prompts: int
    score: float
    shows: float
    opposite: float
    plain: float
    well_formed: float
    ended: float
    tokens: float
    distinct: float
    perplexity: float
    styled_perplexity: float

    def as_dict(self) -> dict[str, float | str]:
        """The measurement as a JSON object."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def steered_answers(
    model: ResearchModel, vector: PersonaVector, prompts: Sequence[Prompt], store: AnswerStore
) -> Mapping[float, list[Answer]]:
    """Greedy answers to the prompts at every scalar, steered at the vector's own blocks."""
    conditions = {
        scalar: Condition(vector.selected_blocks, scalar) if scalar else Condition()
        for scalar in SCALARS
    }
    questions = [prompt.text for prompt in prompts]
    answers = answer_questions(model, vector, questions, list(conditions.values()), SAMPLING, store)
    return {scalar: answers[condition] for scalar, condition in conditions.items()}


def perplexities(
    model: ResearchModel,
    trait_name: str,
    scalar: float,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
) -> Perplexities:
    """Perplexities of the answers, end token included, for the model as it is."""
    trait = TRAITS[trait_name]
    pole = trait.positive if scalar > 0 else trait.negative

    def given(system_prompt: str) -> float:
        ids = [model.encode_chat(chat(prompt.text, system_prompt)) for prompt in prompts]
        losses = unsteered_losses(model, ids, answers)
        return math.exp(sum(loss for loss, _ in losses) / sum(tokens for _, tokens in losses))

    return Perplexities(given(""), given(pole.prompts[0] if scalar else ""))


def summarise(
    trait_name: str,
    scalar: float,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    measured: Perplexities = UNKNOWN,
) -> Measurement:
    """Measures the answers to the prompts."""
    scores = [trait_score(trait_name, answer.text) for answer in answers]
    pairs = list(zip(prompts, answers, strict=True))
    shapes = {answer.text.replace(prompt.topic, "{t}") for prompt, answer in pairs}
    return Measurement(
        trait=trait_name,
        scalar=scalar,
        prompts=len(answers),
        score=fmean(scores),
        shows=fmean(score >= SHOWS_AT for score in scores),
        opposite=fmean(score <= -SHOWS_AT for score in scores),
        plain=fmean(score == 0 for score in scores),
        well_formed=fmean(well_formed_share(answer.text, p.topic) for p, answer in pairs),
        ended=fmean(answer.ended for answer in answers),
        tokens=fmean(len(answer.response_ids) for answer in answers),
        distinct=len(shapes) / len(answers),
        perplexity=measured.plain,
        styled_perplexity=measured.styled,
    )
