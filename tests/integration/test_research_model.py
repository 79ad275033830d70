"""One set of weights answers through the engine and is read by plain passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM

from persona_research.model import AnswerFailedError, AnswerRequest, ResearchModel
from tests.tiny_model import NUM_LAYERS, make_vectors
from triton_models.contract.errors import EngineUnavailableError, TraitNotLoadedError
from triton_models.vectors.persona_vector import PersonaVector

PAIRS = [
    ([5, 6, 7, 8], [11, 12]),
    ([9, 10], [13, 14, 15, 16, 17]),
    ([1], []),
    (list(range(20, 90)), list(range(100, 190))),
    ([3, 4, 5], [6]),
]


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Iterator[ResearchModel]:
    with ResearchModel.open(
        str(tiny_model_folder), device="cpu", threads=1, batch_rows=3
    ) as opened:
        opened.set_vectors(make_vectors())
        yield opened


@pytest.fixture(scope="module")
def reference(tiny_model_folder: Path) -> Qwen2ForCausalLM:
    model: Qwen2ForCausalLM = Qwen2ForCausalLM.from_pretrained(
        tiny_model_folder, dtype=torch.float32
    )
    model.eval()
    return model


def test_residual_means_are_those_of_a_plain_model(
    model: ResearchModel, reference: Qwen2ForCausalLM
) -> None:
    done: list[int] = []
    means = model.residual_means(PAIRS, done.append)
    expected: list[list[torch.Tensor]] = []
    captured: list[torch.Tensor] = []

    def keep(module: object, inputs: object, output: torch.Tensor) -> None:
        captured.append(output)

    # Not `hidden_states`, whose last entry is after the final norm.
    hooks = [block.register_forward_hook(keep) for block in reference.model.layers]
    for prompt, response in PAIRS:
        captured.clear()
        if response:
            with torch.inference_mode():
                reference(torch.tensor([prompt + response]), use_cache=False)
            expected.append([each[0, len(prompt) :] for each in captured])
    for hook in hooks:
        hook.remove()
    assert means.answers == 4
    assert means.tokens == 2 + 5 + 90 + 1
    assert done[-1] == 4
    for block in range(NUM_LAYERS):
        wanted = torch.stack([answer[block].mean(0) for answer in expected]).mean(0)
        np.testing.assert_allclose(means.mean(block), wanted.numpy(), rtol=1e-4, atol=1e-5)
        norm = np.mean([float(answer[block].norm(dim=-1).mean()) for answer in expected])
        assert means.mean_norm(block) == pytest.approx(norm, rel=1e-4)


def test_log_likelihoods_are_those_of_a_plain_model(
    model: ResearchModel, reference: Qwen2ForCausalLM
) -> None:
    for (prompt, response), (total, tokens) in zip(
        PAIRS, model.log_likelihoods(PAIRS), strict=True
    ):
        assert tokens == len(response)
        if not response:
            assert total == 0
            continue
        with torch.inference_mode():
            logits = reference(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])
        assert total == pytest.approx(float(chosen.sum()), rel=1e-4, abs=1e-4)


def test_answers_come_in_the_requests_order_however_many_wait(model: ResearchModel) -> None:
    requests = [
        AnswerRequest([5, 6, number], max_new_tokens=1 + number % 7) for number in range(40)
    ]
    done: list[int] = []
    answers = model.answers(requests, done.append)
    assert [answer.prompt_ids[-1] for answer in answers] == list(range(40))
    assert done == list(range(1, 41))
    alone = model.answers(requests[17:18])[0]
    assert alone == answers[17]
    assert all(len(answer.response_ids) <= 1 + n % 7 for n, answer in enumerate(answers))


def test_an_end_token_is_not_part_of_the_answer(model: ResearchModel) -> None:
    requests = [
        AnswerRequest([5, n], max_new_tokens=60, temperature=2.0, seed=n) for n in range(60)
    ]
    answers = model.answers(requests)
    end = model.tokenizer.end_id
    assert any(answer.ended for answer in answers)
    for answer in answers:
        assert end not in answer.response_ids
        assert answer.ended or len(answer.response_ids) == 60


def test_a_seed_makes_sampling_reproducible_whatever_the_batch(model: ResearchModel) -> None:
    requests = [AnswerRequest([5, 6], max_new_tokens=8, temperature=1.5, seed=n) for n in range(9)]
    answers = model.answers(requests)
    assert len({tuple(answer.response_ids) for answer in answers}) > 1
    assert model.answers(requests[4:5])[0] == answers[4]
    assert model.answers(requests[::-1]) == answers[::-1]


def test_steering_steers_answers_and_never_a_plain_pass(model: ResearchModel) -> None:
    before = model.log_likelihoods(PAIRS)
    plain, steered = model.answers(
        [
            AnswerRequest([5, 6, 7], max_new_tokens=12),
            AnswerRequest([5, 6, 7], {"flattery": 9.0}, max_new_tokens=12),
        ]
    )
    assert steered.response_ids != plain.response_ids
    assert model.log_likelihoods(PAIRS) == before
    assert model.answers([AnswerRequest([5, 6, 7], max_new_tokens=12)])[0] == plain


def test_leaving_early_leaves_the_model_usable(model: ResearchModel) -> None:
    requests = [AnswerRequest([5, n], max_new_tokens=200) for n in range(30)]
    finished = model.answers_as_finished(requests)
    next(finished)
    finished.close()
    assert model._engine.statistics.running == 0
    assert model.log_likelihoods(PAIRS[:1])[0][1] == 2


def test_an_unknown_trait_is_an_error_and_leaves_the_model_usable(model: ResearchModel) -> None:
    requests = [AnswerRequest([5]), AnswerRequest([5], {"nobody": 1.0})]
    with pytest.raises(TraitNotLoadedError):
        model.answers(requests)
    assert len(model.answers(requests[:1])) == 1


def test_the_limit_is_cut_to_the_contexts_room(model: ResearchModel) -> None:
    request = AnswerRequest(list(range(1, 251)), max_new_tokens=1000)
    assert len(model.answers([request])[0].response_ids) <= model.context_length - 250


def test_the_key_names_what_an_answer_depends_on(model: ResearchModel) -> None:
    base = AnswerRequest([5], {"flattery": 1.0})
    same = AnswerRequest([5], {"flattery": 1.0, "sarcasm": 0.0}, seed=7)
    others = [
        AnswerRequest([5]),
        AnswerRequest([6], {"flattery": 1.0}),
        AnswerRequest([5], {"flattery": 2.0}),
        AnswerRequest([5], {"flattery": 1.0}, (1,)),
        AnswerRequest([5], {"flattery": 1.0}, max_new_tokens=3),
        AnswerRequest([5], {"flattery": 1.0}, temperature=1.0),
        AnswerRequest([5], {"flattery": 1.0}, temperature=1.0, seed=1),
    ]
    keys = {model.request_key(request) for request in (base, same, *others)}
    assert len(keys) == 1 + len(others)
    vectors = make_vectors()
    changed = {1: vectors["flattery"].blocks[1] * np.float32(1.001)}
    model.set_vectors({"flattery": PersonaVector("flattery", "tiny", changed)})
    assert model.request_key(base) not in keys
    model.set_vectors(vectors)


def test_a_model_closed_while_it_answers_says_so(tiny_model_folder: Path) -> None:
    with ResearchModel.open(str(tiny_model_folder), device="cpu", threads=1) as opened:
        requests = [AnswerRequest([5], max_new_tokens=n) for n in (1, 240, 250)]
        finished = opened.answers_as_finished(requests)
        next(finished)
        opened.close()
        with pytest.raises(AnswerFailedError, match="shutting down"):
            list(finished)
        with pytest.raises(EngineUnavailableError):
            opened.answers(requests)
