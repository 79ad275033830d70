"""The KL divergence of a steered model from itself is what two plain models give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM

from persona_research.answering import chat
from persona_research.divergence import Departure
from persona_research.model import ResearchModel
from triton_models.settings import DATA_ROOT
from triton_models.vectors.formats import read_vector

VECTOR = read_vector(DATA_ROOT / "vectors/sarcasm.json")
QUESTIONS = ("Describe museums.", "Any advice on drones for me?")
ANSWERS = ("Oh, museums. What a thrill.", "It usually takes some time.")
DELTA = {1: 1.5 * VECTOR.blocks[1]}


@pytest.fixture(scope="module")
def model() -> Iterator[ResearchModel]:
    with ResearchModel.open(device="cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def pairs(model: ResearchModel) -> list[tuple[list[int], list[int]]]:
    return [
        (model.encode_chat(chat(question)), model.encode_text(answer))
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    ]


def next_tokens(plain: Qwen2ForCausalLM, prompt: list[int], response: list[int]) -> torch.Tensor:
    """The log-probabilities at each of a response's tokens, [tokens, vocabulary]."""
    with torch.inference_mode():
        logits = plain(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, -1)


def test_it_is_that_of_two_plain_models(
    model: ResearchModel, pairs: list[tuple[list[int], list[int]]]
) -> None:
    plain = Qwen2ForCausalLM.from_pretrained(DATA_ROOT / "models/demo", dtype=torch.float32)

    def steer(module: object, inputs: object, output: Any) -> Any:
        return output + torch.tensor(DELTA[1])

    found = model.departures(pairs, [DELTA] * 2, [prompt for prompt, _ in pairs])
    for pair, departure in zip(pairs, found, strict=True):
        theirs = next_tokens(plain, *pair)
        loss = -theirs.gather(-1, torch.tensor(pair[1])[:, None]).sum()
        assert departure.loss == pytest.approx(float(loss), rel=1e-4)
        hook = plain.model.layers[1].register_forward_hook(steer)
        ours = next_tokens(plain, *pair)
        hook.remove()
        expected = float((ours.exp() * (ours - theirs)).sum())
        assert departure.divergence == pytest.approx(expected, rel=1e-3)


def test_what_a_system_prompt_changes_is_that_of_two_prompts(
    model: ResearchModel, pairs: list[tuple[list[int], list[int]]]
) -> None:
    plain = Qwen2ForCausalLM.from_pretrained(DATA_ROOT / "models/demo", dtype=torch.float32)
    prompts = [prompt for prompt, _ in pairs]
    asked = [
        (model.encode_chat(chat(question, "Be sarcastic.")), response)
        for question, (_, response) in zip(QUESTIONS, pairs, strict=True)
    ]
    found = model.departures(asked, [{}, {}], prompts)
    for (own, response), other, departure in zip(asked, prompts, found, strict=True):
        ours, theirs = (next_tokens(plain, prompt, response) for prompt in (own, other))
        expected = float((ours.exp() * (ours - theirs)).sum())
        assert expected > 0.1
        assert departure.divergence == pytest.approx(expected, rel=1e-3)


def test_an_unsteered_model_is_itself_beside_a_steered_one(
    model: ResearchModel, pairs: list[tuple[list[int], list[int]]]
) -> None:
    zero = {1: np.zeros(VECTOR.hidden_size, np.float32)}
    prompts = [prompt for prompt, _ in pairs]
    nothing, steered = model.departures(pairs, [zero, DELTA], prompts)
    assert nothing.divergence == 0
    assert steered.divergence > 0.1
    assert steered.loss > 0
    twice, without = model.departures(pairs, [{1: 2 * DELTA[1]}, {}], prompts)
    (once,) = model.departures(pairs[:1], [DELTA], prompts[:1])
    assert without.divergence == 0
    assert twice.divergence > once.divergence
    assert twice.loss == pytest.approx(once.loss, rel=1e-4)


def test_answers_stay_as_they_were(
    model: ResearchModel, pairs: list[tuple[list[int], list[int]]]
) -> None:
    before = model.log_likelihoods(pairs)
    model.departures(pairs, [DELTA] * 2, [prompt for prompt, _ in pairs])
    assert model.log_likelihoods(pairs) == before
    assert model.departures([(pairs[0][0], [])], [DELTA], [pairs[0][0]]) == [Departure()]
