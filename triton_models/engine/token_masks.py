"""Masks that make tokens impossible, applied between the forward pass and sampling."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.model.upload import upload

_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """The masks of a step's logits; rows without one are not changed.

    Attributes:
        indices: The rows of the logits that have one.
        allowed: uint8 [rows, bytes]: bits that are 1 for tokens that may come next, in the order
            of the vocabulary, the lowest bit of a byte first.
    """

    indices: SequenceOf[int]
    allowed: NDArray[np.uint8]

    def apply(self, logits: torch.Tensor) -> None:
        """Makes all other tokens of these rows impossible, in place.

        Args:
            logits: [tokens, vocabulary], float32.
        """
        device, vocabulary = logits.device, logits.shape[1]
        allowed = upload(self.allowed, device, torch.uint8)
        bits = upload([1 << bit for bit in range(8)], device, torch.uint8)
        forbidden = ((allowed[:, :, None] & bits) == 0).flatten(1)[:, :vocabulary]
        if len(self.indices) < len(logits):
            of_all = torch.zeros_like(logits, dtype=torch.bool)
            forbidden = of_all.index_copy_(0, upload(self.indices, device), forbidden)
        logits.masked_fill_(forbidden, _NEVER)


Masks = Callable[[], TokenMasks | None]
"""Waits for the masks of a step; `None` if all its sequences with formats have ended meanwhile."""
