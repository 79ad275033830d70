"""How much a long run has to compute, and about how long that takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from persona_research.answering import chat
from persona_research.definitions import TraitDefinition
from persona_research.judges import Judge
from persona_research.model import AnswerRequest, ResearchModel
from persona_research.neutral_questions import NEUTRAL_QUESTIONS

_PROBE_TOKENS = 8
"""How many tokens of each answer the probe generates, beyond the first."""

_READ_TOKENS = 512
"""About how many tokens the probe's plain pass reads."""


_SCORES = 8
"""How many answers the probe has judged."""

_CHARACTERS = 4
"""About how many a token has."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What there is to compute, at most.

    Attributes:
        answers: Answers to generate.
        prompt_tokens: Tokens of their prompts.
        new_tokens: Tokens to generate.
        read_tokens: Tokens of plain forward passes over prompts and answers.
        scores: Answers to judge with all of a judge's prompts.
    """

    answers: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    read_tokens: int = 0
    scores: float = 0

    def __add__(self, other: Workload) -> Workload:
        return Workload(
            self.answers + other.answers,
            self.prompt_tokens + other.prompt_tokens,
            self.new_tokens + other.new_tokens,
            self.read_tokens + other.read_tokens,
            self.scores + other.scores,
        )

    @classmethod
    def of_answers(
        cls,
        prompt_lengths: Sequence[int],
        times: int,
        max_new_tokens: int,
        passes: int,
        judging: float,
    ) -> Workload:
        """The work of answering each prompt some times, and of reading each answer in passes.

        `judging` is the share of a judge's prompts that judges the answers.
        """
        answers = len(prompt_lengths) * times
        prompt_tokens = sum(prompt_lengths) * times
        new_tokens = answers * max_new_tokens
        read_tokens = passes * (prompt_tokens + new_tokens)
        return cls(answers, prompt_tokens, new_tokens, read_tokens, answers * judging)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds for each token of a kind, while a batch is full, and for each answer to judge."""

    prompt: float
    new: float
    read: float
    score: float

    def seconds(self, work: Workload) -> float:
        """About how long some work takes."""
        return (
            work.prompt_tokens * self.prompt
            + work.new_tokens * self.new
            + work.read_tokens * self.read
            + work.scores * self.score
        )


def measure_speed(
    model: ResearchModel,
    judge: Judge,
    definition: TraitDefinition,
    rows: int,
    max_new_tokens: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Measures how fast a model and a judge are here, with one short batch.

    Args:
        model: The model.
        judge: The judge.
        definition: A trait to judge.
        rows: How many answers are generated at a time.
        max_new_tokens: How long an answer to judge is.
        clock: Seconds that rise.

    Raises:
        JudgeError: The judge cannot judge.
    """
    questions = [NEUTRAL_QUESTIONS[row % len(NEUTRAL_QUESTIONS)] for row in range(rows)]
    # Numbered, so that no prompt is another one's prefix, which is computed once for both.
    prompts = [
        model.encode_chat(chat(question, f"{row}.")) for row, question in enumerate(questions)
    ]
    # What is done once, at the first tokens, is not to be counted for every one.
    model.answers([AnswerRequest(model.encode_chat(chat("Hello.")), max_new_tokens=2)])
    first = _timed(clock, lambda: _generate(model, prompts, 1))
    # Their prompts are in the KV cache by now.
    more = _timed(clock, lambda: _generate(model, prompts, 1 + _PROBE_TOKENS))
    pair = (prompts[0], [token for prompt in prompts for token in prompt][:_READ_TOKENS])
    read = _timed(clock, lambda: model.log_likelihoods([pair]))
    words = model.tokenizer.decode(token for prompt in prompts for token in prompt)
    judged = [words[place : place + _CHARACTERS * max_new_tokens] for place in range(_SCORES)]
    score = _timed(clock, lambda: judge.scores(definition, questions[:1] * _SCORES, judged))
    return Speed(
        first / sum(map(len, prompts)),
        more / (rows * (1 + _PROBE_TOKENS)),
        read / (len(pair[0]) + len(pair[1])),
        score / _SCORES,
    )


def duration_text(seconds: float) -> str:
    """About how long that is, in words."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _generate(model: ResearchModel, prompts: Sequence[list[int]], tokens: int) -> None:
    model.answers([AnswerRequest(prompt, max_new_tokens=tokens) for prompt in prompts])


def _timed(clock: Callable[[], float], work: Callable[[], object]) -> float:
    begun = clock()
    work()
    return clock() - begun
