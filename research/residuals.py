"""Running means of the residual stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass
class ResidualMeans:
    """Running means of the residual over answers, for each decoder block.

    Every answer counts the same, however long it is.

    Attributes:
        sums: Block to the float64 sum [hidden_size] of each answer's mean residual.
        norm_sums: Block to the sum of each answer's mean residual norm.
    """

    sums: dict[int, Tensor] = field(default_factory=dict)
    norm_sums: dict[int, float] = field(default_factory=dict)
    answers: int = 0
    tokens: int = 0

    def add(self, block: int, residual: Tensor, weights: Tensor) -> None:
        """Adds answers at a block.

        Args:
            block: The block.
            residual: Its output, [tokens, hidden size].
            weights: float32 [tokens]: those of an answer's tokens add up to 1, others are 0.
        """
        residual = residual.float()
        total = (weights @ residual).double().cpu()
        norms = float(weights @ residual.norm(dim=-1))
        self.sums[block] = self.sums.get(block, torch.zeros_like(total)) + total
        self.norm_sums[block] = self.norm_sums.get(block, 0.0) + norms

    def __add__(self, other: ResidualMeans) -> ResidualMeans:
        """The means over the answers of both."""
        if not self.answers or not other.answers:
            return self if self.answers else other
        return ResidualMeans(
            {block: total + other.sums[block] for block, total in self.sums.items()},
            {block: total + other.norm_sums[block] for block, total in self.norm_sums.items()},
            self.answers + other.answers,
            self.tokens + other.tokens,
        )

    def mean(self, block: int) -> NDArray[np.float64]:
        """The mean residual of a block, [hidden_size]."""
        mean: NDArray[np.float64] = (self.sums[block] / self.answers).numpy()
        return mean

    def mean_norm(self, block: int) -> float:
        """The mean norm of a block's residual."""
        return self.norm_sums[block] / self.answers
