"""Small random models of every family, saved as the hub would have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.tiny_model import make_tokenizer

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
