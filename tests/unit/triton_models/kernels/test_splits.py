"""Into how many splits attention goes."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from triton_models.kernels.block_sizes import attention_splits, next_power_of_two


@pytest.mark.parametrize("num_tokens", [1, 2, 7, 64, 256, 1024])
@pytest.mark.parametrize("num_shared", [1, 2, 8, 32])
@pytest.mark.parametrize("context_length", [64, 4096, 131_072])
def test_splits_are_powers_of_two_that_keep_a_card_busy(
    num_tokens: int, num_shared: int, context_length: int
) -> None:
    splits = attention_splits(num_tokens, num_shared, context_length)
    assert splits == next_power_of_two(splits)
    assert 1 <= splits <= 64
    assert splits >= 16 or splits * num_tokens * num_shared >= 264
    assert attention_splits(1, 2, context_length) == (64 if context_length > 32_768 else 16)
