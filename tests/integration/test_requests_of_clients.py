"""What clients of other servers ask for, in the engine: no ends, and a top-p of zero."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.integration.asking import GREEDY, ask
from tests.tiny_model import make_tokenizer
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason, TokenChunk

PROMPT = list(range(40, 60))
MAX_TOKENS = 40
HOT = SamplingParameters(temperature=2.0, top_k=0, top_p=1.0)


def answer(engine: Engine, request: GenerationRequest) -> TokenChunk:
    (whole,) = ask(engine, request, PROMPT).all()
    return whole


@pytest.fixture(scope="module")
def ended(engine: Engine) -> tuple[GenerationRequest, TokenChunk]:
    """A request that the model ends after some tokens, and its answer."""
    for seed in range(200):
        request = GenerationRequest(sampling=replace(HOT, seed=seed), max_tokens=MAX_TOKENS)
        whole = answer(engine, request)
        if whole.finish_reason is FinishReason.STOP and len(whole.token_ids) > 2:
            return request, whole
    raise AssertionError("the model ends no answer")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_whose_ends_are_ignored_has_all_its_tokens(
    engine: Engine, ended: tuple[GenerationRequest, TokenChunk], stream: bool
) -> None:
    request, whole = ended
    longer = ask(engine, replace(request, ignore_eos=True, stream=stream), PROMPT)
    chunks = longer.all()
    tokens = [token for chunk in chunks for token in chunk.token_ids]
    assert chunks[-1].finish_reason is FinishReason.LENGTH
    assert chunks[-1].num_generated_tokens == len(tokens) == MAX_TOKENS
    # Nothing else is different, so what it costs is what any answer of that length costs.
    assert tuple(tokens[: len(whole.token_ids)]) == whole.token_ids


def test_a_stop_string_ends_an_answer_whose_ends_are_ignored(
    engine: Engine, ended: tuple[GenerationRequest, TokenChunk]
) -> None:
    request, _ = ended
    endless = replace(request, ignore_eos=True, min_tokens=MAX_TOKENS)
    long = answer(engine, endless)
    texts = [str(make_tokenizer().decode([token])) for token in long.token_ids[:-1]]
    word = next(text for text in reversed(texts) if text.isascii() and text.isalnum())
    cut = answer(engine, replace(endless, stop_words=(word,)))
    assert cut.finish_reason is FinishReason.STOP
    assert cut.num_generated_tokens < MAX_TOKENS


@pytest.mark.parametrize("top_k", [0, 50])
def test_a_top_p_of_zero_is_the_most_likely_token_alone(engine: Engine, top_k: int) -> None:
    hot = SamplingParameters(temperature=2.0, top_k=top_k, top_p=0.0, seed=3)
    asked = [GenerationRequest(sampling=each, max_tokens=8) for each in (hot, GREEDY)]
    drawn, greedy = (answer(engine, request).token_ids for request in asked)
    assert drawn == greedy
