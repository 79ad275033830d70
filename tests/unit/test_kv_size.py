"""The KV cache's size: what is asked for, within what there is."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config

from triton_models.engine.kv_size import (
    KVCacheTooSmallError,
    available_memory,
    bytes_per_token,
    choose_num_slots,
)


def test_a_token_of_qwen_3b_takes_36_kib() -> None:
    config = Qwen2Config(
        hidden_size=2048, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=2
    )
    assert bytes_per_token(config, torch.bfloat16) == 36 * 1024
    assert bytes_per_token(config, torch.float32) == 72 * 1024


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
