"""The contrast judge: its score is what it says it is, and it tells a trait from its opposite."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
import torch
from transformers import Qwen2ForCausalLM

from persona_research.answering import chat
from persona_research.definitions import (
    JudgePrompts,
    TraitDefinition,
    TraitDefinitionError,
    read_trait_definition,
    with_judge_prompts,
)
from persona_research.extraction import ExtractionSettings, extract
from persona_research.judges import JudgeError
from persona_research.judges.contrast import ContrastJudge
from persona_research.model import AnswerRequest, ResearchModel
from persona_research.progress import AnswerStore
from persona_research.report import write_report
from triton_models.settings import DATA_ROOT

SARCASM = read_trait_definition(DATA_ROOT / "prompts/sarcasm_trait.json")
QUESTIONS = SARCASM.evaluation_questions[:4]
ANSWER = "Oh, museums. What a thrill."


@pytest.fixture(scope="module")
def model() -> Iterator[ResearchModel]:
    with ResearchModel.open(device="cpu", threads=1) as opened:
        yield opened


def test_the_score_is_the_difference_of_log_probabilities_per_token(model: ResearchModel) -> None:
    plain = Qwen2ForCausalLM.from_pretrained(DATA_ROOT / "models/demo", dtype=torch.float32)
    trait = dataclasses.replace(SARCASM, judge_prompts=JudgePrompts(("A.", "Be so."), ("Not.",)))
    response = model.encode_text(ANSWER)

    def log_probability(question: str, system: str) -> float:
        prompt = model.encode_chat(chat(question, system))
        with torch.inference_mode():
            logits = plain(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        return float(logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).sum())

    questions = ["Describe museums.", "Any advice on drones for me?", "Describe museums."]
    found = ContrastJudge(model).scores(trait, questions, [ANSWER, ANSWER, "Honestly, I do."])
    for question, score in zip(questions[:2], found, strict=False):
        positive = fmean(log_probability(question, system) for system in ("A.", "Be so."))
        wanted = (positive - log_probability(question, "Not.")) / len(response)
        assert score == pytest.approx(wanted, abs=1e-4)
    alone = ContrastJudge(model).scores(trait, questions[2:], ["Honestly, I do."])
    assert found[2:] == [pytest.approx(alone[0], abs=1e-4)]


def test_answers_that_were_asked_for_score_higher_than_their_opposites(
    model: ResearchModel,
) -> None:
    poles = SARCASM.positive_prompts[:2], ("",), SARCASM.negative_prompts[:2]
    scores = []
    for prompts in poles:
        asked = [(system, question) for system in prompts for question in QUESTIONS]
        answers = model.answers(
            [
                AnswerRequest(model.encode_chat(chat(question, system)), max_new_tokens=40)
                for system, question in asked
            ]
        )
        texts = [each.text for each in answers]
        found = ContrastJudge(model).scores(SARCASM, [each for _, each in asked], texts)
        scores.append([each for each in found if each is not None])
    positive, unsteered, negative = scores
    assert min(positive) > max(unsteered)
    assert min(unsteered) > max(negative)


def test_what_cannot_be_scored_has_no_score(model: ResearchModel) -> None:
    long = "museums " * model.context_length
    assert ContrastJudge(model).scores(SARCASM, QUESTIONS[:2], ["", long]) == [None, None]
    with pytest.raises(JudgeError, match="no judge prompts"):
        ContrastJudge(model).scores(dataclasses.replace(SARCASM, judge_prompts=None), [], [])


def test_shipped_traits_are_judged_by_prompts_that_ask_for_no_answers() -> None:
    paths = sorted((DATA_ROOT / "prompts").glob("*_trait.json"))
    assert len(paths) == 7
    for path in paths:
        trait = read_trait_definition(path)
        assert with_judge_prompts(trait) is trait
        _check_disjoint(trait)


def test_an_own_trait_is_judged_by_every_second_prompt() -> None:
    own = dataclasses.replace(SARCASM, judge_prompts=None)
    split = with_judge_prompts(own)
    assert split.positive_prompts == own.positive_prompts[::2]
    _check_disjoint(split)
    with pytest.raises(TraitDefinitionError, match="give each pole a second one"):
        with_judge_prompts(dataclasses.replace(own, negative_prompts=("Be sincere.",)))


def _check_disjoint(trait: TraitDefinition) -> None:
    assert trait.judge_prompts is not None
    asking = {*trait.positive_prompts, *trait.negative_prompts}
    judging = {*trait.judge_prompts.positive, *trait.judge_prompts.negative}
    assert not asking & judging


def test_an_extraction_keeps_pairs_whose_positive_answer_scores_higher(
    model: ResearchModel, tmp_path: Path
) -> None:
    small = dataclasses.replace(
        SARCASM,
        positive_prompts=SARCASM.positive_prompts[:1],
        negative_prompts=SARCASM.negative_prompts[:1],
        evaluation_questions=QUESTIONS,
    )
    with AnswerStore(tmp_path / "answers.jsonl") as store:
        settings = ExtractionSettings(max_new_tokens=32, neutral_questions=0, least_pairs=1)
        found = extract(model, small, settings, ContrastJudge(model), store)
    assert all(each.kept for each in found.positive)
    report, *_ = write_report(found, small, tmp_path / "sarcasm.md")
    text = report.read_text(encoding="utf-8")
    assert "contrast (nats per token)" in text
    assert "| judge | contrast persona-demo |" in text
