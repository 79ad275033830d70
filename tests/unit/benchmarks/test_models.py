"""The benchmark's models: their sizes, their tokenizer, and what they are called in GGUF."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2Config

from benchmarks.contenders.gguf_file import gguf_name, metadata, padded_tokens
from benchmarks.contenders.llama_cpp import LlamaCppError, control_vector, prompts_together
from benchmarks.contenders.transformers_generate import left_padded
from benchmarks.shapes import (
    SHAPES,
    make_model,
    make_model_folder,
    make_tokenizer,
    random_vectors,
)
from tests.tiny_model import served
from triton_models.model.tokenizer import load_tokenizer
from triton_models.text.token_bytes import TokenBytes

TINY = dataclasses.replace(SHAPES["demo"], name="tiny", num_layers=3, vocabulary_size=300)


def test_the_half_billion_shape_has_as_many_weights() -> None:
    # Qwen2.5-0.5B has 494 million parameters; norms and biases are the few that are not counted.
    assert SHAPES["0.5b"].num_parameters_per_step == pytest.approx(494e6, rel=2e-3)


def test_weights_of_a_step_are_all_but_norms_and_biases() -> None:
    model = make_model(TINY, torch.float32)
    matrices = sum(weight.numel() for weight in model.parameters() if weight.dim() == 2)
    assert TINY.num_parameters_per_step == matrices


def test_a_model_folder_is_made_once_and_whole(tmp_path: Path) -> None:
    model = make_model_folder(TINY, "bfloat16", tmp_path)
    again = make_model_folder(TINY, "bfloat16", tmp_path)
    assert again == model
    assert model.bytes_per_step == 2 * TINY.num_parameters_per_step
    assert len(list(model.vectors.glob("*.json"))) == 8
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    tokenizer = load_tokenizer(model.folder)
    assert len(tokenizer) == TINY.vocabulary_size
    assert tokenizer.end_id is None


def test_every_token_of_the_tokenizer_is_text_of_its_own() -> None:
    tokenizer = make_tokenizer(300)
    known = TokenBytes(served(tokenizer))
    texts = [known[id] for id in range(300)]
    assert texts[:128] == [bytes([id]) for id in range(128)]
    assert all(text.isalpha() for text in texts[128:])
    assert tokenizer("two words\n", add_special_tokens=False)["input_ids"] == list(b"two words\n")


def test_vectors_steer_the_shape_s_blocks() -> None:
    vectors = random_vectors(TINY.hidden_size, TINY.steered_blocks, "tiny")
    assert {tuple(vector.blocks) for vector in vectors} == {TINY.steered_blocks}
    assert len({vector.trait_name for vector in vectors}) == len(vectors)
    for vector in vectors:
        assert list(vector.norms.values()) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("model.norm.weight", "output_norm.weight"),
        ("lm_head.weight", "output.weight"),
        ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
        ("model.layers.11.self_attn.q_proj.bias", "blk.11.attn_q.bias"),
        ("model.layers.3.self_attn.k_proj.weight", "blk.3.attn_k.weight"),
        ("model.layers.3.self_attn.v_proj.bias", "blk.3.attn_v.bias"),
        ("model.layers.3.self_attn.o_proj.weight", "blk.3.attn_output.weight"),
        ("model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"),
        ("model.layers.3.mlp.gate_proj.weight", "blk.3.ffn_gate.weight"),
        ("model.layers.3.mlp.up_proj.weight", "blk.3.ffn_up.weight"),
        ("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"),
    ],
)
def test_gguf_has_a_name_for_each_tensor(name: str, expected: str) -> None:
    assert gguf_name(name) == expected


@pytest.mark.parametrize("name", ["model.layers.3.self_attn.q_norm.weight", "visual.proj.weight"])
def test_a_tensor_that_qwen2_does_not_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a tensor of a Qwen2 model"):
        gguf_name(name)


def test_every_tensor_of_a_model_has_a_name_of_its_own() -> None:
    names = [name for name, _ in make_model(TINY, torch.float32).named_parameters()]
    assert len({gguf_name(name) for name in names}) == len(names) == 3 * 12 + 2


def test_the_metadata_are_the_config_s() -> None:
    config = Qwen2Config(
        hidden_size=896,
        num_attention_heads=14,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    values = metadata(config)
    assert values["attention.head_count"] == 14
    assert values["attention.head_count_kv"] == 2
    assert values["rope.freq_base"] == 1e6
    assert isinstance(values["attention.layer_norm_rms_epsilon"], float)


def test_ids_past_the_tokenizer_get_names() -> None:
    assert padded_tokens({"b": 1, "a": 0}, 4) == ["a", "b", "[PAD2]", "[PAD3]"]


def test_a_control_vector_begins_at_block_one() -> None:
    data = control_vector({1: np.ones(2, np.float32), 3: np.full(2, 3, np.float32)}, 2)
    assert data.tolist() == [[1, 1], [0, 0], [3, 3]]
    with pytest.raises(LlamaCppError, match="block 0"):
        control_vector({0: np.ones(2, np.float32)}, 2)


def test_prompts_are_computed_together_while_there_is_room() -> None:
    assert prompts_together([4, 4, 3, 8, 1], 8) == [[0, 1], [2], [3], [4]]


def test_prompts_of_a_static_batch_end_together() -> None:
    input_ids, mask = left_padded([[5, 6, 7], [8]])
    assert input_ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
