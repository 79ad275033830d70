"""Checkpoints and configurations: what is read of them, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.integration.families import make, save
from triton_models.model.architecture import read_architecture
from triton_models.model.attention import WholeSequences
from triton_models.model.errors import UnsupportedModelError
from triton_models.model.loading import load_model
from triton_models.model.transformer import ForwardContext
from triton_models.settings import ServerSettings


@pytest.mark.parametrize("packing", [True, False])
def test_checkpoints_in_several_files_are_joined(packing: bool, tmp_path: Path) -> None:
    model = make("Qwen3")
    whole = save(model, tmp_path / "whole")
    parts = save(model, tmp_path / "parts", max_shard_size="60KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    settings = ServerSettings(device="cpu", cpu_packing=packing)
    one, other = (load_model(folder, settings) for folder in (whole, parts))
    assert one.num_parameters == other.num_parameters == model.num_parameters()
    if not packing:
        pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
        assert all(torch.equal(first, second) for first, second in pairs)


def test_configurations_of_before_transformers_5_are_read_alike(tmp_path: Path) -> None:
    folder = save(make("Llama 3"), tmp_path / "model")
    new = read_architecture(folder, "it")
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    (folder / "config.json").write_text(json.dumps(config))
    assert read_architecture(folder, "it") == new
    config["rope_scaling"] = {"type" if key == "rope_type" else key: rope[key] for key in rope}
    (folder / "config.json").write_text(json.dumps(config))
    assert read_architecture(folder, "it") == new


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mistral"}, "it is a mistral model: this server runs Qwen2 and Qwen2.5"),
        ({"model_type": "qwen3_moe"}, "it is a qwen3_moe model"),
        ({"use_sliding_window": True}, "sliding-window attention"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window attention"),
        ({"hidden_act": "gelu"}, "activation 'gelu': only 'silu'"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized weights"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rotary embedding 'longrope'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn' without a usable 'factor'"),
        ({"partial_rotary_factor": 0.5}, "rotates only a part"),
        ({"hidden_size": None}, "config.json is broken: .*hidden_size is None"),
        ({"num_attention_heads": 0}, "config.json is broken"),
        ({"hidden_size": 1e999}, "config.json is broken"),
        ({"num_key_value_heads": 4}, "6 query heads, 4 key/value heads"),
        ({"head_dim": 7}, "head size 7"),
        ({"max_position_embeddings": 0}, "config.json is broken"),
        ({"rope_parameters": "yarn"}, "config.json is broken"),
        ({"rope_parameters": {"rope_type": "linear", "factor": -2}}, "usable 'factor'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "kinds of block"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = save(make("Qwen2"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=message):
        read_architecture(folder, "it")


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("same", [True, False])
def test_a_tied_model_that_holds_an_output_layer_all_the_same_keeps_it(
    same: bool, packing: bool, tmp_path: Path
) -> None:
    model = make("SmolLM2")
    folder = save(model, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    head = tensors["model.embed_tokens.weight"].clone()
    tensors["lm_head.weight"] = head if same else head.flip(0).contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    loaded = load_model(folder, ServerSettings(device="cpu", cpu_packing=packing))
    extra = 0 if same else head.numel()
    assert loaded.num_parameters == model.num_parameters() + extra
    ids = torch.arange(10)
    with torch.inference_mode():
        attend = WholeSequences([10], loaded.model.architecture)
        states = loaded.model(ids, ids, ForwardContext(attend, torch.zeros_like(ids)))
        logits = loaded.model.logits(states)
        reference: Any = type(model).from_pretrained(folder)
        expected = reference(ids[None]).logits[0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_ends_that_the_model_has_no_logit_for_are_left_out(tmp_path: Path) -> None:
    folder = save(make("Qwen2"), tmp_path / "model")
    ends = {"eos_token_id": [5, 272, -1, None, "a", True]}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    loaded = load_model(folder, ServerSettings(device="cpu"))
    assert 5 in loaded.end_ids
    assert all(0 <= id < 272 for id in loaded.end_ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 2}, "tensors that its architecture has no place for"),
        ({"num_hidden_layers": 4}, "lack the tensor model.layers.3"),
        ({"intermediate_size": 64}, r"mlp.gate_proj.weight has the shape \[80, 48\]"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = save(make("Qwen2"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | change
    config.pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match=message):
        load_model(folder, ServerSettings(device="cpu"))
