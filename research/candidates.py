"""Choosing a trait's system prompts among candidates, by how the model answers under them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Literal

from persona_research.answering import chat, check_judge, derived_seed, judged_answers
from persona_research.definitions import Candidates, TraitDefinition
from persona_research.errors import ResearchError
from persona_research.evaluation.conditions import EvaluationSampling
from persona_research.judges.judge import Judge
from persona_research.model import AnswerRequest, ResearchModel
from persona_research.progress import AnswerStore

Pole = Literal["positive", "negative"]

MAX_BACKUPS = 1000


class CandidateError(ResearchError):
    """The candidates cannot be ranked or kept; the message says why."""


@dataclass(frozen=True)
class RankedPrompt:
    """A candidate, its answers' mean score and deviation, and how many have a score or none."""

    prompt: str
    mean: float
    spread: float
    scored: int
    unparsable: int


@dataclass(frozen=True)
class Ranking:
    """The candidates of each pole, best first."""

    positive: tuple[RankedPrompt, ...]
    negative: tuple[RankedPrompt, ...]


def rank_candidates(
    model: ResearchModel,
    definition: TraitDefinition,
    candidates: Candidates,
    judge: Judge,
    store: AnswerStore,
    sampling: EvaluationSampling,
) -> Ranking:
    """Ranks candidates by the mean score of the model's answers to the trait's questions.

    Raises:
        CandidateError: No answer got a score.
        JudgeError: The judge cannot judge.
    """
    check_judge(judge, definition)
    prompts = list(dict.fromkeys((*candidates.positive_prompts, *candidates.negative_prompts)))
    questions = definition.evaluation_questions
    asked = [(prompt, question) for prompt in prompts for question in questions]
    requests = [
        AnswerRequest(
            model.encode_chat(chat(question, prompt)),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            seed=derived_seed(sampling.seed, prompt, question),
        )
        for prompt, question in asked
    ]
    _, scores = judged_answers(
        model, requests, judge, definition, [question for _, question in asked], store
    )
    by_prompt = {
        prompt: scores[place * len(questions) : (place + 1) * len(questions)]
        for place, prompt in enumerate(prompts)
    }
    if all(score is None for score in scores):
        raise CandidateError(
            f"the judge ({judge.name}) gave no score that could be read for any of {len(scores)} "
            "answers: use another judge"
        )
    return Ranking(
        rank(candidates.positive_prompts, by_prompt, "positive"),
        rank(candidates.negative_prompts, by_prompt, "negative"),
    )


def rank(
    prompts: Sequence[str], scores: dict[str, list[float | None]], pole: Pole
) -> tuple[RankedPrompt, ...]:
    """Orders prompts: the highest mean first for the positive pole, the lowest for the negative.

    Prompts none of whose answers has a score are left out; equal ones keep their order.
    """
    ranked = []
    for prompt in dict.fromkeys(prompts):
        known = [score for score in scores[prompt] if score is not None]
        if known:
            missing = len(scores[prompt]) - len(known)
            ranked.append(RankedPrompt(prompt, fmean(known), pstdev(known), len(known), missing))
    sign = -1 if pole == "positive" else 1
    return tuple(sorted(ranked, key=lambda each: sign * each.mean))


def keep_best(path: Path, ranking: Ranking, count: int) -> Path:
    """Puts the best candidates of each pole in place of a definition's prompts.

    A pole without candidates keeps its prompts; all else in the file stays as it is. The old file
    is kept beside it, and the new one takes its place at once.

    Returns:
        The old file's new path.

    Raises:
        CandidateError: The file is not in the project's form.
    """
    content = path.read_bytes()
    document = json.loads(content)
    if "positive_prompts" not in document:
        raise CandidateError(
            f"{path.name} is in persona_vectors' form, which cannot be updated: --dry-run ranks"
        )
    for key, ranked in (
        ("positive_prompts", ranking.positive),
        ("negative_prompts", ranking.negative),
    ):
        if ranked:
            document[key] = [each.prompt for each in ranked[:count]]
    backup = _back_up(path, content)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return backup


def _back_up(path: Path, content: bytes) -> Path:
    for number in range(1, MAX_BACKUPS + 1):
        backup = path.with_name(f"{path.name}.{number}.bak")
        try:
            with backup.open("xb") as file:
                file.write(content)
        except FileExistsError:
            continue
        return backup
    raise CandidateError(f"{path.name} has {MAX_BACKUPS} backups: remove some")
