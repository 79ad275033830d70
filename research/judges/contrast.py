"""A judge that asks the loaded model which of a trait's poles explains an answer better.

The score of an answer a to a question q is, in nats per token of a,

    mean of log p(a | s, q) over positive prompts s - the same mean over negative prompts s

under the model as it is, without steering. Nothing is generated and nothing is read out of a reply,
so that it works on models that are too small to be asked for a number. It sees what the prompts
name, as the model understands them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from persona_research.answering import chat
from persona_research.definitions import TraitDefinition
from persona_research.judges.judge import CONTRAST, JudgeError
from persona_research.model import ResearchModel
from persona_research.progress import digest


class ContrastJudge:
    """Scores by how much likelier the trait's judge prompts make an answer than its opposite's."""

    scale = CONTRAST
    at_once = 256
    """Many, since the answers to one question share the computing of what is before them."""

    def __init__(self, model: ResearchModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        """`contrast` and which model."""
        return f"contrast {self._model.name}"

    @property
    def identity(self) -> str:
        """The model's."""
        return digest("contrast 1", self._model.identity)

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers; see `Judge`. Empty ones and ones too long for the model have no score.

        Raises:
            JudgeError: The definition has no judge prompts: see `with_judge_prompts`.
        """
        prompts = trait.judge_prompts
        if prompts is None:
            raise JudgeError(f"the definition of {trait.trait_name!r} has no judge prompts")
        systems = (*prompts.positive, *prompts.negative)
        signs = [1 / len(prompts.positive)] * len(prompts.positive)
        signs += [-1 / len(prompts.negative)] * len(prompts.negative)
        asked = {
            question: [self._model.encode_chat(chat(question, system)) for system in systems]
            for question in dict.fromkeys(questions)
        }
        responses = [self._model.encode_text(answer) for answer in answers]
        room = {
            question: self._model.context_length - max(map(len, encoded))
            for question, encoded in asked.items()
        }
        judged = [
            place
            for place, (question, response) in enumerate(zip(questions, responses, strict=True))
            if 0 < len(response) <= room[question]
        ]
        found = self._model.log_likelihoods(
            [(prompt, responses[place]) for place in judged for prompt in asked[questions[place]]]
        )
        scores: list[float | None] = [None] * len(answers)
        for number, place in enumerate(judged):
            totals = found[number * len(systems) : (number + 1) * len(systems)]
            difference = sum(sign * total for sign, (total, _) in zip(signs, totals, strict=True))
            scores[place] = difference / len(responses[place])
        return scores
