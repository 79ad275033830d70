"""Answers and scores through a store, so that a run that was cut off does nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from persona_research.definitions import TraitDefinition
from persona_research.judges.judge import Judge
from persona_research.model import Answer, AnswerRequest, ResearchModel
from persona_research.progress import (
    AnswerStore,
    OnDone,
    StoredAnswer,
    digest,
    ignore_progress,
    progress_bar,
)

_SEED_DIGITS = 15


def derived_seed(seed: int, *parts: str | int) -> int:
    """Returns an answer's own seed: it depends on what the answer is, not on its batch."""
    return int(digest(seed, *parts)[:_SEED_DIGITS], 16)


def chat(question: str, system_prompt: str = "") -> list[dict[str, str]]:
    """The messages of one user turn, after a system turn unless that is empty."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": question}]


def stored_answers(
    model: ResearchModel,
    requests: Sequence[AnswerRequest],
    store: AnswerStore,
    on_done: OnDone = ignore_progress,
) -> list[Answer]:
    """Generates the answers that the store does not have yet, and returns all."""
    keys = [model.request_key(request) for request in requests]
    missing = {
        key: request
        for key, request in zip(keys, requests, strict=True)
        if store.answer(key) is None
    }
    waiting = list(missing)
    done = len(requests) - len(waiting)
    on_done(done)
    with closing(model.answers_as_finished(list(missing.values()))) as finished:
        for index, answer in finished:
            kept = StoredAnswer(tuple(answer.response_ids), answer.text, answer.ended)
            store.add_answer(waiting[index], kept)
            done += 1
            on_done(done)
    return [
        _as_answer(request, store.answer(key)) for key, request in zip(keys, requests, strict=True)
    ]


def check_judge(judge: Judge, trait: TraitDefinition) -> None:
    """Finds out before the work, and not after it, whether a judge can judge a trait.

    Raises:
        JudgeError: It cannot.
    """
    judge.scores(trait, [], [])


def stored_scores(
    judge: Judge,
    trait: TraitDefinition,
    questions: Sequence[str],
    answers: Sequence[str],
    store: AnswerStore,
    on_done: OnDone = ignore_progress,
) -> list[float | None]:
    """Judges the answers that the store has no score of yet, and returns all scores.

    Raises:
        JudgeError: The judge cannot judge.
    """
    keys = [
        _score_key(judge, trait, question, answer)
        for question, answer in zip(questions, answers, strict=True)
    ]
    missing = {key: index for index, key in enumerate(keys) if not store.has_score(key)}
    waiting = list(missing.values())
    for start in range(0, len(waiting), judge.at_once):
        batch = waiting[start : start + judge.at_once]
        on_done(len(answers) - len(waiting) + start)
        scores = judge.scores(
            trait, [questions[index] for index in batch], [answers[index] for index in batch]
        )
        for index, score in zip(batch, scores, strict=True):
            store.add_score(keys[index], score)
    on_done(len(answers))
    return [store.score(key) for key in keys]


def judged_answers(
    model: ResearchModel,
    requests: Sequence[AnswerRequest],
    judge: Judge | None,
    trait: TraitDefinition,
    questions: Sequence[str],
    store: AnswerStore,
) -> tuple[list[Answer], list[float | None]]:
    """Returns answers and their scores, all of them `None` without a judge; shows how far it is."""
    with progress_bar(f"{trait.trait_name}: answers", len(requests)) as show:
        answers = stored_answers(model, requests, store, show)
    if judge is None:
        return answers, [None] * len(answers)
    with progress_bar(f"{trait.trait_name}: scores", len(requests)) as show:
        texts = [answer.text for answer in answers]
        return answers, stored_scores(judge, trait, questions, texts, store, show)


def _as_answer(request: AnswerRequest, kept: StoredAnswer | None) -> Answer:
    if kept is None:
        raise RuntimeError("the engine left a request without an answer")
    return Answer(request.prompt_ids, list(kept.response_ids), kept.text, kept.ended)


def _score_key(judge: Judge, trait: TraitDefinition, question: str, answer: str) -> str:
    cues = trait.cues and [trait.cues.positive, trait.cues.negative]
    prompts = trait.judge_prompts and [trait.judge_prompts.positive, trait.judge_prompts.negative]
    return digest(
        judge.identity,
        trait.trait_name,
        trait.description,
        trait.eval_prompt,
        cues,
        prompts,
        question,
        answer,
    )
