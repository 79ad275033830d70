"""Every family of models, and every rotary embedding, is computed as transformers computes it.

Small random models of transformers' own classes, saved as the hub would have them; the reference is
`generate` with a plain forward hook, token for token in float32.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.conftest import make_tokenizer
from tests.integration.asking import GREEDY, ask
from tests.integration.reference import agree, generate_alone
from triton_models.contract.request import GenerationRequest, SteeringParameters
from triton_models.engine.build import build_engine
from triton_models.model.architecture import read_architecture
from triton_models.model.attention import WholeSequences
from triton_models.model.errors import UnsupportedModelError
from triton_models.model.loading import load_model
from triton_models.model.transformer import ForwardContext
from triton_models.settings import ServerSettings
from triton_models.vectors.formats import write_vector
from triton_models.vectors.persona_vector import PersonaVector

HIDDEN_SIZE = 48
NUM_LAYERS = 3
COMMON: dict[str, Any] = {
    "vocab_size": 272,
    "hidden_size": HIDDEN_SIZE,
    "intermediate_size": 80,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, tuple[type[PreTrainedModel], type[Any], dict[str, Any]]] = {
    "Qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "Qwen2 tied": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "Qwen2 yarn": (Qwen2ForCausalLM, Qwen2Config, {"rope_parameters": YARN}),
    "Qwen2 yarn, not truncated": (
        Qwen2ForCausalLM,
        Qwen2Config,
        {"rope_parameters": {**YARN, "truncate": False, "attention_factor": 1.3}},
    ),
    "Qwen2 yarn with mscale": (
        Qwen2ForCausalLM,
        Qwen2Config,
        {"rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2, "beta_fast": 20}},
    ),
    "Qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16}),
    "Qwen3 tied, yarn": (
        Qwen3ForCausalLM,
        Qwen3Config,
        {"head_dim": 20, "tie_word_embeddings": True, "rope_parameters": YARN},
    ),
    "Qwen3 with biases": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 16, "attention_bias": True}),
    "Llama": (LlamaForCausalLM, LlamaConfig, {}),
    "Llama, no grouping": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 6}),
    "Llama 3": (LlamaForCausalLM, LlamaConfig, {"rope_parameters": LLAMA3}),
    "Llama linear": (
        LlamaForCausalLM,
        LlamaConfig,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2.0}},
    ),
    "Llama dynamic": (
        LlamaForCausalLM,
        LlamaConfig,
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}},
    ),
    "Llama with biases": (
        LlamaForCausalLM,
        LlamaConfig,
        {"attention_bias": True, "mlp_bias": True},
    ),
    "SmolLM2": (
        LlamaForCausalLM,
        LlamaConfig,
        {
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        },
    ),
}


def make(name: str, seed: int = 0) -> Any:
    """Returns a random model whose biases and norms are not the zeros and ones they begin as."""
    model_class, config_class, options = MODELS[name]
    torch.manual_seed(seed)
    model: Any = model_class(config_class(**{**COMMON, **options}))
    for parameter_name, parameter in model.named_parameters():
        if "norm" in parameter_name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif parameter_name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.eval().requires_grad_(False)
    model.generation_config.eos_token_id = None
    return model


def save(model: Any, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_vector() -> dict[int, NDArray[np.float32]]:
    random = np.random.default_rng(1)
    return {b: random.normal(size=HIDDEN_SIZE).astype(np.float32) for b in range(NUM_LAYERS)}


def settings_of(folder: Path, vectors: Path) -> ServerSettings:
    return ServerSettings(
        model_name=str(folder), vectors=vectors, device="cpu", threads=1, prefill_chunk=16
    )


@pytest.mark.parametrize("name", list(MODELS))
def test_a_family_gives_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    model = make(name)
    folder = save(model, tmp_path / "model")
    vector = make_vector()
    (tmp_path / "vectors").mkdir()
    write_vector(PersonaVector("trait", "tiny", vector), tmp_path / "vectors" / "trait.json")
    built = build_engine(settings_of(folder, tmp_path / "vectors"))
    engine = built.engine
    engine.start()
    prompts = [[(11 * i + 5 * k) % 256 for i in range(length)] for k, length in enumerate([1, 40])]
    asked = []
    for prompt, scalar in itertools.product(prompts, [0.0, 0.6, -0.6]):
        request = GenerationRequest(SteeringParameters({"trait": scalar}), GREEDY, 20)
        asked.append((prompt, scalar, ask(engine, request, prompt)))
    texts = set()
    for prompt, scalar, answer in asked:
        deltas = {block: np.float32(scalar) * vector[block] for block in vector} if scalar else {}
        expected = generate_alone(model, prompt, 20, deltas)
        is_end = [token in built.loaded.end_ids for token in expected]
        if any(is_end):
            expected = expected[: is_end.index(True)]
        got = answer.tokens()
        assert agree(model, prompt, expected, got, deltas), (scalar, expected, got)
        texts.add(tuple(got))
    engine.stop(0)
    assert len(texts) == len(asked)


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("packing", [True, False])
def test_every_number_format_is_near_float32(dtype: str, packing: bool, tmp_path: Path) -> None:
    model = make("SmolLM2")
    folder = save(model, tmp_path / "model")
    (tmp_path / "vectors").mkdir()
    settings = settings_of(folder, tmp_path / "vectors")
    settings = dataclasses.replace(settings, dtype=dtype, cpu_packing=packing)
    built = build_engine(settings)
    built.engine.start()
    request = GenerationRequest(sampling=GREEDY, max_tokens=1, logprobs=1)
    prompt = list(range(30))
    (chunk,) = ask(built.engine, request, prompt).all()
    built.engine.stop(0)
    expected = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    got = chunk.logprobs[0].logprob
    tolerance = 1e-3 if dtype == "float32" else 0.5
    assert got == pytest.approx(float(expected[chunk.token_ids[0]]), abs=tolerance)
