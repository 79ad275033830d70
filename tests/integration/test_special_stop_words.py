"""A stop string that is a special token's name ends an answer when that token is generated."""

from __future__ import annotations

import pytest

from tests.integration.asking import ask
from tests.tiny_model import make_tokenizer
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.engine import Engine
from triton_models.engine.sequence import FinishReason

NAME = "<|im_start|>"
TOKEN = make_tokenizer().convert_tokens_to_ids(NAME)
PROMPT = list(range(40, 60))


def request(seed: int, *stop_words: str) -> GenerationRequest:
    # So hot that any token may come.
    sampling = SamplingParameters(temperature=2.0, top_k=0, top_p=1.0, seed=seed)
    return GenerationRequest(sampling=sampling, max_tokens=60, stop_words=stop_words)


@pytest.fixture(scope="module")
def seed(engine: Engine) -> int:
    """A seed with which the model generates the token, after others."""
    for seed in range(200):
        if TOKEN in ask(engine, request(seed), PROMPT).tokens()[1:]:
            return seed
    raise AssertionError("no seed makes the model generate the token")


def test_the_token_ends_the_answer_and_is_no_part_of_it(engine: Engine, seed: int) -> None:
    (whole,) = ask(engine, request(seed), PROMPT).all()
    (cut,) = ask(engine, request(seed, "never", NAME), PROMPT).all()
    before = whole.token_ids.index(TOKEN)
    assert cut.token_ids == whole.token_ids[:before]
    assert cut.num_generated_tokens == before + 1
    assert cut.finish_reason is FinishReason.STOP


def test_a_part_of_its_name_is_sought_in_the_text_alone(engine: Engine, seed: int) -> None:
    (whole,) = ask(engine, request(seed), PROMPT).all()
    (same,) = ask(engine, request(seed, NAME[:-1]), PROMPT).all()
    assert same.token_ids == whole.token_ids
