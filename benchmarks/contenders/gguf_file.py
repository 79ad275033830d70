"""Writing a Qwen2 model folder as a GGUF file, which is what llama.cpp reads.

The weights are the folder's own, bit for bit: matrices in their number format, norms and biases in
float32 as llama.cpp wants them. Rotary embeddings of Qwen2 pair a head's first half with its second
in both, so that no weight needs to be permuted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import safe_open
from transformers import Qwen2Config

ARCHITECTURE = "qwen2"

_MAX_BLOCKS = 128
_NAMES = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, _MAX_BLOCKS)

_NO_MERGE = "\u0120 \u0120"
"""Joins two spaces to a token that is in no vocabulary here, since a file must have some merge."""


def gguf_name(name: str) -> str:
    """Returns what GGUF calls a tensor of a Qwen2 checkpoint.

    Raises:
        ValueError: Qwen2 has no such tensor.
    """
    found = _NAMES.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise ValueError(f"{name} is not a tensor of a Qwen2 model")
    return str(found)


def metadata(config: Qwen2Config) -> dict[str, int | float]:
    """Returns the keys of the `qwen2` architecture, without their prefix `qwen2.`."""
    rope: Any = config.rope_parameters
    return {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads or config.num_attention_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": float(rope["rope_theta"]),
    }


def padded_tokens(vocabulary: dict[str, int], size: int) -> list[str]:
    """Returns the token of each id; ids that the tokenizer does not know get names of their own."""
    tokens = [f"[PAD{id}]" for id in range(size)]
    for token, id in vocabulary.items():
        tokens[id] = token
    return tokens


def write_gguf(folder: Path, path: Path) -> None:
    """Writes a model folder as a GGUF file, unless the file is there already.

    The folder has one `model.safetensors`, whose weights are all in one number format.
    """
    if path.is_file():
        return
    partial = path.with_name(path.name + ".partial")
    config = Qwen2Config.from_pretrained(folder)
    writer = gguf.GGUFWriter(partial, ARCHITECTURE)
    for key, value in metadata(config).items():
        if isinstance(value, int):
            writer.add_uint32(f"{ARCHITECTURE}.{key}", value)
        else:
            writer.add_float32(f"{ARCHITECTURE}.{key}", value)
    _add_tokenizer(writer, folder, config.vocab_size)
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a mapping: it cannot be iterated over
            _add_tensor(writer, gguf_name(name), weights.get_tensor(name))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def _add_tokenizer(writer: Any, folder: Path, vocabulary_size: int) -> None:
    """Adds the byte-level BPE tokenizer, which llama.cpp calls gpt2's, without special tokens."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(padded_tokens(model["vocab"], vocabulary_size))
    writer.add_token_merges(merges or [_NO_MERGE])
    writer.add_add_bos_token(False)


def _add_tensor(writer: Any, name: str, tensor: torch.Tensor) -> None:
    if tensor.dim() == 1:
        writer.add_tensor(name, tensor.float().numpy())
    elif tensor.dtype is torch.bfloat16:
        # numpy has no bfloat16; only the bits are written.
        bits = tensor.view(torch.uint16).numpy()
        writer.add_tensor(name, bits, raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, tensor.numpy())
