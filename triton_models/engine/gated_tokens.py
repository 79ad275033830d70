"""What became of conditions in a step: which tokens they let through."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch

from triton_models.engine.sequence import ConditionTally, Sequence
from triton_models.model.upload import upload


@dataclass(frozen=True, slots=True)
class GatedTokens:
    """The generated tokens of requests with a condition in a step.

    Attributes:
        tallies: Where each of them is counted.
        token_indices: Their places in the packed batch.
    """

    tallies: tuple[ConditionTally, ...]
    token_indices: tuple[int, ...]

    def of(self, gates: torch.Tensor) -> torch.Tensor:
        """Returns these tokens' gates, of those of all tokens."""
        return gates.index_select(0, upload(self.token_indices, gates.device))

    def give(self, gates: torch.Tensor) -> None:
        """Counts the tokens, as `of` returns their gates."""
        for tally, gate in zip(self.tallies, gates.tolist(), strict=True):
            tally.num_tokens += 1
            tally.num_met += int(gate)


def gated_tokens(sequences: SequenceOf[Sequence]) -> GatedTokens | None:
    """Returns those of a step's generating sequences, whose tokens come first; `None` if none."""
    gated = [
        (each.condition, place)
        for place, each in enumerate(sequences)
        if each.condition is not None and each.steering.steers_response
    ]
    if not gated:
        return None
    tallies, places = zip(*gated, strict=True)
    return GatedTokens(tallies, places)
