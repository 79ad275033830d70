"""The sizes of published models, and the memory that they take in the engine."""

from __future__ import annotations

import torch

from triton_models.contract.steering import OPERATION_PLACES
from triton_models.engine.kv_size import bytes_per_token
from triton_models.model.architecture import Architecture


def qwen2(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, tied: bool
) -> Architecture:
    """Returns the architecture of a model of the Qwen2 family, by its sizes."""
    return Architecture(
        family="qwen2",
        vocabulary_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_layers=layers,
        num_heads=heads,
        num_key_value_heads=kv_heads,
        head_size=hidden // heads,
        max_positions=32_768,
        norm_epsilon=1e-6,
        qkv_bias=True,
        tied_embeddings=tied,
    )


MODELS: dict[str, Architecture] = {
    "Qwen2.5-0.5B": qwen2(896, 4_864, 24, 14, 2, 151_936, True),
    "Qwen2.5-1.5B": qwen2(1_536, 8_960, 28, 12, 2, 151_936, True),
    "Qwen2.5-3B": qwen2(2_048, 11_008, 36, 16, 2, 151_936, True),
    "Qwen2.5-7B": qwen2(3_584, 18_944, 28, 28, 4, 152_064, False),
    "Qwen2.5-14B": qwen2(5_120, 13_824, 48, 40, 8, 152_064, False),
    "Qwen2.5-32B": qwen2(5_120, 27_648, 64, 40, 8, 152_064, False),
}
"""The sizes in the `config.json` of each model's Instruct version."""


def num_parameters(config: Architecture) -> int:
    """Returns how many weights a model has."""
    width, inner = config.hidden_size, config.intermediate_size
    queries = config.num_heads * config.head_size
    attention = (width + 1) * (queries + config.key_value_width) + queries * width
    block = attention + 3 * width * inner + 2 * width
    embeddings = config.vocabulary_size * width * (1 if config.tied_embeddings else 2)
    return embeddings + config.num_layers * block + width


def steering_bytes(config: Architecture, rows: int, dtype: torch.dtype) -> int:
    """Returns the size of the vectors of the steering table.

    At each block a row has two of them that are added and `OPERATION_PLACES` of operations, and a
    row has one of a condition; some are there once more for tokens that are not steered.
    """
    num_vectors = config.num_layers * (2 * rows + 1 + OPERATION_PLACES * (rows + 1)) + rows + 1
    return num_vectors * config.hidden_size * dtype.itemsize


def kv_bytes(config: Architecture, tokens: int, dtype: torch.dtype) -> int:
    """Returns the size of a KV cache for so many tokens, with the slot of dummy tokens."""
    return (tokens + 1) * bytes_per_token(config, dtype)
