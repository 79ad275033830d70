"""How far steering takes a model from itself: the KL divergence of its next-token distributions.

Answers are read again, token by token, steered and unsteered side by side in one batch. At each
token of an answer the divergence is that of the steered model's distribution of it from the
unsteered one's, both after the same tokens of it, so it holds what steering changes there and
nothing of how the answers have come apart before. What a system prompt changes is measured alike.
How likely the unsteered model finds the answer is read from the same pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import nll_loss

from persona_research.plain_pass import (
    Call,
    Pair,
    Tap,
    batches,
    check_lengths,
    in_batches,
    states_of,
)
from triton_models.model.loading import LoadedModel

Deltas = Mapping[int, NDArray[np.float32]]
"""What is added at each block's output, [hidden size]."""


@dataclass(frozen=True, slots=True)
class Departure:
    """How far a response is from the unsteered model, in nats, summed over its tokens.

    Attributes:
        divergence: KL(steered || unsteered).
        loss: The response's negative log likelihood for the unsteered model.
    """

    divergence: float = 0.0
    loss: float = 0.0


def departures(
    loaded: LoadedModel,
    pairs: Sequence[Pair],
    deltas: Sequence[Deltas],
    plain_prompts: Sequence[list[int]],
    call: Call[Sequence[Departure]],
) -> list[Departure]:
    """Returns how far each pair's response is from the unsteered model.

    Args:
        loaded: The model.
        pairs: Prompts and responses, to be read steered.
        deltas: What each pair is steered by, at every token.
        plain_prompts: What each response follows where it is read unsteered.
        call: Computes something on the engine's thread.

    Raises:
        ValueError: A pair is longer than the model's context.
    """
    plain_pairs = [
        (prompt, response) for prompt, (_, response) in zip(plain_prompts, pairs, strict=True)
    ]
    check_lengths(plain_pairs, loaded.context_length)
    # Each pair stands in a pass twice.
    halves = (
        half
        for batch in batches(pairs, loaded.context_length)
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :])
        if half
    )
    whole = list(zip(pairs, plain_pairs, deltas, strict=True))
    return in_batches(whole, halves, partial(_departures, loaded), Departure(), call)


@torch.inference_mode()
def _departures(loaded: LoadedModel, batch: Sequence[tuple[Pair, Pair, Deltas]]) -> list[Departure]:
    model = loaded.model
    steered, plain, deltas = zip(*batch, strict=True)
    pairs = [*steered, *plain]
    lengths = [len(prompt) + len(response) for prompt, response in pairs]
    adding = _Adding(deltas, lengths[: len(steered)], model.device, model.dtype)
    states = states_of(loaded, pairs, adding).split(lengths)
    before = [
        each[len(prompt) - 1 : len(prompt) - 1 + len(response)]
        for each, (prompt, response) in zip(states, pairs, strict=True)
    ]
    found = []
    for (_, response), *both in zip(
        steered, before[: len(steered)], before[len(steered) :], strict=True
    ):
        # One response at a time: a real vocabulary makes a batch's logits enormous.
        ours, theirs = (model.logits(each).log_softmax(dim=-1) for each in both)
        # Rounding may leave nothing a little below 0.
        divergence = max(float((ours.exp() * (ours - theirs)).sum()), 0.0)
        targets = torch.tensor(response, device=theirs.device)
        found.append(Departure(divergence, float(nll_loss(theirs, targets, reduction="sum"))))
    return found


class _Adding(Tap):
    """Steers the first of two halves of a pass."""

    def __init__(
        self,
        deltas: Sequence[Deltas],
        lengths: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._lines = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        self._lines = self._lines.to(device)
        size = max((len(each) for line in deltas for each in line.values()), default=0)
        nothing = np.zeros(size, np.float32)
        self._tables = {
            block: torch.tensor(
                np.stack([line.get(block, nothing) for line in deltas]), device=device
            ).to(dtype)
            for block in {block for line in deltas for block in line}
        }

    def read(self, block: int, hidden_states: Tensor) -> None:
        """Adds to a block's output, [tokens of both halves, hidden size], in place."""
        if block in self._tables:
            hidden_states[: len(self._lines)] += self._tables[block][self._lines]
