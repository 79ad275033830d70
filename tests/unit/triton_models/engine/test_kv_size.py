"""The KV cache's size: what is asked for, within what there is."""

from __future__ import annotations

import pytest
import torch

from triton_models.engine.kv_size import (
    available_memory,
    bytes_per_token,
    choose_num_slots,
    growth_of,
)
from triton_models.model.architecture import Architecture
from triton_models.model.errors import KVCacheTooSmallError


def test_a_token_of_qwen_3b_takes_36_kib() -> None:
    model = Architecture("qwen2", 151_936, 2048, 11_008, 36, 16, 2, 128, 32_768, 1e-6)
    assert bytes_per_token(model, torch.bfloat16) == 36 * 1024
    assert bytes_per_token(model, torch.float32) == 72 * 1024


def test_every_row_gets_its_full_length_as_far_as_memory_allows() -> None:
    assert choose_num_slots(1000, 0, 8, 100, 10_000_000) == 800
    assert choose_num_slots(1000, 0, 8, 100, 300_000) == 300
    assert choose_num_slots(1000, 150, 8, 100, 300_000) == 150


def test_a_cache_too_small_for_one_request_is_refused() -> None:
    with pytest.raises(KVCacheTooSmallError, match="MAX_CONTEXT to at most 60, or raise KV_CACHE"):
        choose_num_slots(1000, 60, 8, 100, 10_000_000)
    with pytest.raises(KVCacheTooSmallError, match="a token takes 1000 bytes, and 50000 are free"):
        choose_num_slots(1000, 0, 8, 100, 50_000)


def test_a_quarter_of_the_machine_is_there_for_it() -> None:
    assert 2**26 < available_memory(torch.device("cpu")) < 2**46


def test_it_is_opened_in_steps_that_hold_a_request_on_a_cpu_and_at_once_on_a_gpu() -> None:
    assert growth_of(2**20, 40, torch.device("cpu")) == 128
    assert growth_of(2**20, 4096, torch.device("cpu")) == 4096
    assert growth_of(2**20, 4096, torch.device("cuda")) == 0
