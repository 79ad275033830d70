"""How large the KV cache is."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from transformers import Qwen2Config

GPU_SHARE = 0.9
"""How much of a GPU's free memory the cache may take; the rest is for a step's own tensors."""

CPU_SHARE = 0.25
"""How much of the machine's memory it may take: others run there, too."""


class KVCacheTooSmallError(ValueError):
    """The KV cache cannot hold a single request of full length."""


def head_size(config: Qwen2Config) -> int:
    """Returns the width of an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def num_key_value_heads(config: Qwen2Config) -> int:
    """Returns how many heads share keys and values with a group of query heads."""
    return config.num_key_value_heads or config.num_attention_heads


def bytes_per_token(config: Qwen2Config, dtype: torch.dtype) -> int:
    """Returns the size of one token's keys and values at all decoder blocks."""
    width = num_key_value_heads(config) * head_size(config)
    return 2 * config.num_hidden_layers * width * dtype.itemsize


def choose_num_slots(
    token_bytes: int, configured: int, num_rows: int, context_length: int, memory: int
) -> int:
    """Returns how many tokens the KV cache holds.

    Args:
        token_bytes: The size of one token's keys and values.
        configured: How many the operator wants, or 0.
        num_rows: How many requests a batch can hold.
        context_length: The most tokens of a request.
        memory: How many bytes the cache may take when nothing is configured.

    Raises:
        KVCacheTooSmallError: A request of full length would not fit.
    """
    num_slots = configured or min(num_rows * context_length, memory // token_bytes)
    if num_slots < context_length:
        remedy = (
            "raise KV_CACHE_TOKENS"
            if configured
            else f"a token takes {token_bytes} bytes, and {memory} are free"
        )
        raise KVCacheTooSmallError(
            f"the KV cache would hold {num_slots} tokens, but a request can have {context_length}: "
            f"set MAX_CONTEXT to at most {num_slots}, or {remedy}"
        )
    return num_slots


def available_memory(device: torch.device) -> int:
    """Returns how many bytes of a device the KV cache may take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * GPU_SHARE)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(total, _container_limit() or total) * CPU_SHARE)


def _container_limit() -> int | None:
    """Returns the memory limit of the container that this runs in, if it has one."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return None
