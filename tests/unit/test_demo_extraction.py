"""The extractor measures the answer's own tokens, at the output of every block."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from triton_models.vectors.extraction import (
    ExtractionSettings,
    ResidualMeans,
    TraitDefinition,
    TraitDefinitionError,
    accumulate_residuals,
    block_output_hooks,
    extract_vector,
    generate_responses,
    read_trait_definition,
)

FOLDER = Path(__file__).resolve().parents[2] / "data/models/demo"
DEFINITION = TraitDefinition(
    trait_name="warmth",
    description="",
    positive_prompts=("Be warm.", "Be kind."),
    negative_prompts=("Be cold.",),
    evaluation_questions=("What is tea?", "Tell me about long walks in the hills.", "Hi"),
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
    )
    fresh: PreTrainedModel = Qwen2ForCausalLM(config)
    fresh.eval()
    return fresh


def test_means_are_of_the_response_tokens_at_each_blocks_output(model: PreTrainedModel) -> None:
    prompts = [[5, 6, 7, 8], [9, 10]]
    responses = [[11, 12], [13, 14, 15, 16, 17]]
    means = ResidualMeans()
    accumulate_residuals(model, prompts, responses, means)

    expected = []
    for prompt, response in zip(prompts, responses, strict=True):
        with torch.inference_mode():
            states = model(torch.tensor([prompt + response]), output_hidden_states=True)
        expected.append([state[0, len(prompt) :].mean(0) for state in states.hidden_states[1:-1]])
    assert means.answers == 2
    assert means.tokens == 7
    for block in range(2):  # the last of hidden_states is after the final norm
        wanted = (expected[0][block] + expected[1][block]) / 2
        np.testing.assert_allclose(means.mean(block), wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert sorted(means.sums) == [0, 1, 2]


def test_an_empty_response_counts_for_nothing(model: PreTrainedModel) -> None:
    means = ResidualMeans()
    accumulate_residuals(model, [[5, 6], [7]], [[], [8]], means)
    assert means.answers == 1


def test_the_batch_size_does_not_change_the_vector(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    vectors = [
        extract_vector(
            model,
            tokenizer,
            DEFINITION,
            "tiny",
            ExtractionSettings(max_new_tokens=8, batch_size=size, selected_layers=(1,)),
        )
        for size in (1, 4)
    ]
    for block in range(3):
        np.testing.assert_allclose(
            vectors[0].blocks[block], vectors[1].blocks[block], rtol=1e-3, atol=1e-4
        )
    assert vectors[0].metadata["samples"] == {"positive": 6, "negative": 3}
    assert vectors[0].selected_blocks == (1,)


def test_the_scale_is_applied_and_recorded(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    plain, scaled = (
        extract_vector(
            model, tokenizer, DEFINITION, "tiny", ExtractionSettings(max_new_tokens=4, scale=scale)
        )
        for scale in (1.0, 0.25)
    )
    np.testing.assert_allclose(scaled.blocks[1], plain.blocks[1] / 4, rtol=1e-5)
    assert scaled.metadata["scale"] == 0.25


def test_selected_layers_must_exist(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    settings = ExtractionSettings(max_new_tokens=2, selected_layers=(7,))
    with pytest.raises(ValueError, match=r"\[7\]"):
        extract_vector(model, tokenizer, DEFINITION, "tiny", settings)


def test_hooks_change_the_output_and_leave(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    prompt = [[5, 6, 7]]
    before = generate_responses(model, tokenizer, prompt, 6)
    push = 50 * torch.randn(32, generator=torch.Generator().manual_seed(1))
    with block_output_hooks(model, lambda block, residual: residual + push if block == 1 else None):
        assert generate_responses(model, tokenizer, prompt, 6) != before
    assert generate_responses(model, tokenizer, prompt, 6) == before


def test_definitions_are_read_and_checked(tmp_path: Path) -> None:
    document = {
        "trait_name": "warmth",
        "description": "d",
        "positive_prompts": ["a"],
        "negative_prompts": ["b"],
        "evaluation_questions": ["c"],
    }
    path = tmp_path / "warmth_trait.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert read_trait_definition(path).positive_prompts == ("a",)
    path.write_text(json.dumps({**document, "negative_prompts": []}), encoding="utf-8")
    with pytest.raises(TraitDefinitionError, match="negative_prompts is empty"):
        read_trait_definition(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(TraitDefinitionError, match=r"warmth_trait\.json"):
        read_trait_definition(path)
