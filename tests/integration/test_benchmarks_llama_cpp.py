"""The GGUF file that the benchmark writes is the model: llama.cpp says what transformers says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.contenders import llama_cpp
from benchmarks.contenders.gguf_file import write_gguf
from benchmarks.measurement import Timeline
from tests.integration.reference import generate_alone
from tests.tiny_model import HIDDEN_SIZE, make_model

pytestmark = pytest.mark.skipif(
    not llama_cpp.is_installed(),
    reason="llama-cpp-python and gguf are not installed: the extra 'benchmarks' brings them",
)

NEW_TOKENS = 16
PROMPTS = [[5, 200, 31, 7], list(range(40, 80)), [9]]


@pytest.fixture(scope="module")
def llama(
    tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[llama_cpp.LlamaModel]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_model_folder, path)
    llama = llama_cpp.LlamaModel(path, threads=1, exact_cache=True)
    yield llama
    llama.close()


@pytest.mark.parametrize("steered", [False, True])
def test_several_streams_get_the_tokens_that_transformers_generates_for_each_alone(
    llama: llama_cpp.LlamaModel, steered: bool
) -> None:
    random = np.random.default_rng(0)
    deltas = {
        block: 4 * random.normal(size=HIDDEN_SIZE).astype(np.float32)
        for block in ([1, 3] if steered else [])
    }
    with llama.context(len(PROMPTS), 64) as context:
        context.steer(deltas)
        answers = context.generate(PROMPTS, NEW_TOKENS, Timeline(len(PROMPTS)))

    model = make_model()
    expected = [generate_alone(model, prompt, NEW_TOKENS, deltas) for prompt in PROMPTS]
    assert answers == expected


def test_steering_changes_what_llama_cpp_generates(llama: llama_cpp.LlamaModel) -> None:
    answers = []
    for scale in (0.0, 4.0):
        with llama.context(1, 64) as context:
            context.steer({1: np.full(HIDDEN_SIZE, scale, dtype=np.float32)})
            answers.append(context.generate(PROMPTS[:1], NEW_TOKENS, Timeline(1)))
    assert answers[0] != answers[1]
