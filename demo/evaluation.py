"""Measures on held-out prompts how far a vector turns a trait, and what that does to the text.

`persona_research.evaluation` makes answers, scores and perplexities. Added is what only the demo
can have: prompts that training never saw, and a grammar that tells well-formed sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from persona_demo.grammar import well_formed_share
from persona_demo.questions import Prompt
from persona_research.answering import chat
from persona_research.definitions import TraitDefinition
from persona_research.evaluation.conditions import (
    EvaluationSampling,
    answer_questions,
    steered,
    tokens_of,
)
from persona_research.evaluation.doses import Dose, MeasuredAnswer, summarise
from persona_research.evaluation.estimates import perplexity
from persona_research.evaluation.trait_evaluation import measure
from persona_research.judges import RuleJudge
from persona_research.judges.judge import NEUTRAL
from persona_research.model import ResearchModel
from persona_research.progress import AnswerStore
from triton_models.vectors.persona_vector import PersonaVector

SCALARS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SAMPLING = EvaluationSampling(max_new_tokens=120)

SHOWS_AT = 0.5
"""The trait score from which an answer counts as showing the trait."""


@dataclass(frozen=True, slots=True)
class HeldOutAnswer:
    """The answer to a held-out prompt.

    Attributes:
        styled_loss: Its negative log likelihood, in nats, for the unsteered model given a system
            prompt that asks for the pole steered to.
    """

    prompt: Prompt
    measured: MeasuredAnswer
    styled_loss: float


HeldOutAnswers = Mapping[float, Sequence[HeldOutAnswer]]
"""The answers to the held-out prompts, in their order, by scalar."""


@dataclass(frozen=True, slots=True)
class HeldOutSummary:
    """What a set of answers to held-out prompts looks like at one scalar.

    Attributes:
        shows: Share of answers that show the trait (score at least 0.5).
        opposite: Share of answers that show the opposite (score at most -0.5).
        plain: Share of answers whose score is 0.
        well_formed: Mean share of sentences that are grammatical, about the prompt's topic, and
            not said twice.
        distinct: Share of answers that are unlike every other once the topic is taken out.
        styled_perplexity: Perplexity per token for the unsteered model given a system prompt that
            asks for the pole steered to.
    """

    dose: Dose
    shows: float
    opposite: float
    plain: float
    well_formed: float
    distinct: float
    styled_perplexity: float

    @property
    def score(self) -> float:
        """The mean trait score: 1 shows the trait throughout, -1 its opposite."""
        return _balance(self.dose.score.value)


def answer_held_out(
    model: ResearchModel,
    vector: PersonaVector,
    definition: TraitDefinition,
    prompts: Sequence[Prompt],
    store: AnswerStore,
) -> HeldOutAnswers:
    """Greedy answers to the prompts at every scalar, steered at the vector's own blocks.

    Raises:
        JudgeError: The definition has no cues.
    """
    conditions = {scalar: steered(vector.selected_blocks, scalar) for scalar in SCALARS}
    asked_for = {-1: definition.negative_prompts[0], 0: "", 1: definition.positive_prompts[0]}
    questions = [prompt.text for prompt in prompts]
    answers = answer_questions(model, vector, questions, list(conditions.values()), SAMPLING, store)
    measured = measure(model, RuleJudge(), vector, definition, questions, answers, store)
    found = {}
    for scalar, condition in conditions.items():
        system_prompt = asked_for[(scalar > 0) - (scalar < 0)]
        styled = [model.encode_chat(chat(question, system_prompt)) for question in questions]
        responses = [tokens_of(model, answer) for answer in answers[condition]]
        likelihoods = model.log_likelihoods(list(zip(styled, responses, strict=True)))
        found[scalar] = [
            HeldOutAnswer(prompt, answer, -total)
            for prompt, answer, (total, _) in zip(
                prompts, measured[condition], likelihoods, strict=True
            )
        ]
    return found


def summarise_held_out(scalar: float, answers: Sequence[HeldOutAnswer]) -> HeldOutSummary:
    """Summarises the answers at one scalar, of which there must be at least one."""
    # An answer without a sentence has no score: it shows neither pole.
    scores = [
        _balance(NEUTRAL if each.measured.score is None else each.measured.score)
        for each in answers
    ]
    texts = [(each.measured.text, each.prompt.topic) for each in answers]
    styled = perplexity([(each.styled_loss, each.measured.loss_tokens) for each in answers])
    return HeldOutSummary(
        dose=summarise(scalar, [each.measured for each in answers]),
        shows=fmean(score >= SHOWS_AT for score in scores),
        opposite=fmean(score <= -SHOWS_AT for score in scores),
        plain=fmean(score == 0 for score in scores),
        well_formed=fmean(well_formed_share(text, topic) for text, topic in texts),
        distinct=len({text.replace(topic, "{t}") for text, topic in texts}) / len(texts),
        styled_perplexity=styled.value,
    )


def _balance(score: float) -> float:
    """A judge's score of 0 to 100 as one of -1 to 1."""
    return (score - NEUTRAL) / NEUTRAL
