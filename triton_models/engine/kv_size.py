"""The size of the KV cache."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from triton_models.model.architecture import Architecture
from triton_models.model.errors import KVCacheTooSmallError

GPU_SHARE = 0.9
"""The share of a GPU's free memory for the cache; the rest is for a step's own tensors."""

CPU_SHARE = 0.25
"""The share of the machine's memory for the cache; other programs need the rest."""

GROWTH_BYTES = 128 * 2**20
"""How much memory the cache takes at a time, as running requests need it."""


def bytes_per_token(model: Architecture, dtype: torch.dtype) -> int:
    """Returns the size in bytes of one token's keys and values at all decoder blocks."""
    return model.num_layers * model.key_value_width * dtype.itemsize


def growth_of(token_bytes: int, context_length: int, device: torch.device) -> int:
    """Returns how many slots the KV cache opens at a time, 0 if it is allocated whole.

    It is on a GPU, where CUDA graphs hold its addresses. `token_bytes` is the size of one token's
    keys and values.
    """
    return 0 if device.type == "cuda" else max(GROWTH_BYTES // token_bytes, context_length)


def choose_num_slots(
    token_bytes: int, configured: int, num_rows: int, context_length: int, memory: int
) -> int:
    """Returns how many tokens the KV cache holds.

    Without a `configured` number it may take `memory` bytes, at `token_bytes` for a token.

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
    """Returns the memory limit of the container in bytes, if there is one."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return None
