"""A judge that is the loaded model itself, unsteered."""

from __future__ import annotations

from collections.abc import Sequence

from persona_research.definitions import TraitDefinition
from persona_research.judges.judge import POINTS
from persona_research.judges.rubric import READING, judge_prompt, parse_score
from persona_research.model import AnswerRequest, ResearchModel
from persona_research.progress import digest

_REPLY_TOKENS = 12


class ModelJudge:
    """Asks a model for a number."""

    scale = POINTS
    at_once = 32

    def __init__(self, model: ResearchModel) -> None:
        self._model = model

    @property
    def name(self) -> str:
        """`model` and which one."""
        return f"model {self._model.name}"

    @property
    def identity(self) -> str:
        """The model's."""
        return digest("model", self._model.identity, _REPLY_TOKENS, READING)

    def scores(
        self, trait: TraitDefinition, questions: Sequence[str], answers: Sequence[str]
    ) -> list[float | None]:
        """Scores answers; see `Judge`. A reply that is not a number is no score."""
        prompts = [
            [{"role": "user", "content": judge_prompt(trait, question, answer)}]
            for question, answer in zip(questions, answers, strict=True)
        ]
        requests = [
            AnswerRequest(self._model.encode_chat(prompt), max_new_tokens=_REPLY_TOKENS)
            for prompt in prompts
        ]
        fitting = [
            index
            for index, request in enumerate(requests)
            if len(request.prompt_ids) < self._model.context_length
        ]
        scores: list[float | None] = [None] * len(requests)
        replies = self._model.answers([requests[index] for index in fitting])
        for index, reply in zip(fitting, replies, strict=True):
            scores[index] = parse_score(reply.text, ended=reply.ended)
        return scores
