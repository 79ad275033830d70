"""Masks on logits: what they forbid, and which rows they leave alone."""

from __future__ import annotations

import numpy as np
import torch

from triton_models.engine.token_masks import TokenMasks

VOCABULARY = 43
"""Not a multiple of the masks' 32 bits."""


def packed(allowed: list[set[int]]) -> np.typing.NDArray[np.uint8]:
    bits = np.zeros((len(allowed), 64), dtype=bool)
    for row, tokens in enumerate(allowed):
        bits[row, list(tokens)] = True
    return np.packbits(bits, axis=1, bitorder="little")


def test_only_the_allowed_tokens_of_a_masked_row_are_possible() -> None:
    logits = torch.randn(3, VOCABULARY)
    before = logits.clone()
    allowed = [{0, 7, 8, 42}, {31, 32}]
    TokenMasks([2, 0], packed(allowed)).apply(logits)
    assert torch.equal(logits[1], before[1])
    for row, tokens in zip((2, 0), allowed, strict=True):
        for token in range(VOCABULARY):
            expected = before[row, token] if token in tokens else -torch.inf
            assert logits[row, token] == expected


def test_all_rows_can_be_masked() -> None:
    logits = torch.zeros(2, VOCABULARY)
    TokenMasks([0, 1], packed([{1}, {2}])).apply(logits)
    assert logits.isfinite().nonzero().tolist() == [[0, 1], [1, 2]]
