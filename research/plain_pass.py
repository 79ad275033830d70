"""Plain forward passes over the weights that an engine serves from.

A real model's weights do not fit twice. So a plain pass runs the engine's own model while no
request is in the engine, which launches nothing more once the last one has its last chunk. It swaps
the engine's attention, which reads its KV cache, for PyTorch's, and tells the engine's permanent
hooks to steer nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from research.progress import OnDone
from research.residuals import ResidualMeans
from triton_models.engine.model_loading import LoadedModel
from triton_models.steering.hooks import RESIDUAL_TAP, STEERING_ROWS, UNSTEERED_LINE

Pair = tuple[list[int], list[int]]
"""A prompt's tokens and a response's."""

PASS_TOKENS = 4096
"""The most tokens, padding included, of one pass, unless a single pair has more."""

_PLAIN_ATTENTION = "sdpa"


@torch.inference_mode()
def residual_means(loaded: LoadedModel, pairs: Sequence[Pair], on_done: OnDone) -> ResidualMeans:
    """Measures the residual at every block's output over the responses' tokens.

    Args:
        loaded: The model, with the engine's hooks, and nothing in the engine.
        pairs: Prompts and responses; an empty response counts for nothing.
        on_done: Takes how many pairs are done.
    """
    means = ResidualMeans()
    with _plain_attention(loaded):
        for batch in _batches(pairs):
            chosen = [pairs[index] for index in batch]
            mask = _response_mask(chosen, loaded.model.device)
            _states(loaded, chosen, _MeansTap(means, mask))
            means.answers += len(batch)
            means.tokens += int(mask.sum())
            on_done(means.answers)
    return means


@torch.inference_mode()
def log_likelihoods(loaded: LoadedModel, pairs: Sequence[Pair], on_done: OnDone) -> list[float]:
    """Returns each response's log-probability after its prompt; an empty one's is 0.

    Args:
        loaded: The model, with the engine's hooks, and nothing in the engine.
        pairs: Prompts, which must not be empty, and responses.
        on_done: Takes how many pairs are done.
    """
    totals = [0.0] * len(pairs)
    done = 0
    with _plain_attention(loaded):
        for batch in _batches(pairs):
            states = _states(loaded, [pairs[index] for index in batch])
            for row, index in enumerate(batch):
                prompt, response = pairs[index]
                start = len(prompt) - 1
                # One row at a time: a real vocabulary makes a batch's logits enormous.
                logits = loaded.model.lm_head(states[row, start : start + len(response)])
                targets = torch.tensor(response, device=logits.device)
                totals[index] = -float(cross_entropy(logits.float(), targets, reduction="sum"))
            done += len(batch)
            on_done(done)
    return totals


class _MeansTap:
    """Stands where the engine's hooks look for a tap, and adds up what they show it."""

    def __init__(self, means: ResidualMeans, mask: Tensor) -> None:
        self._means = means
        self._mask = mask

    def read(self, block: int, hidden_states: Tensor) -> None:
        """Adds a block's output, [batch, longest, hidden size]."""
        self._means.add(block, hidden_states, self._mask)


@contextmanager
def _plain_attention(loaded: LoadedModel) -> Iterator[None]:
    model = loaded.model
    packed = model.config._attn_implementation
    model.set_attn_implementation(_PLAIN_ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(packed)


def _batches(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """Indices of pairs of like length whose response is not empty."""
    lengths = [len(prompt) + len(response) for prompt, response in pairs]
    chosen = [index for index, (_, response) in enumerate(pairs) if response]
    batch: list[int] = []
    for index in sorted(chosen, key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > PASS_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _states(loaded: LoadedModel, pairs: Sequence[Pair], tap: _MeansTap | None = None) -> Tensor:
    """Runs pairs through the blocks: the last hidden states, [batch, longest, hidden size].

    Rows are padded on the right, where under a causal mask nothing before can see it.
    """
    model = loaded.model
    ids = torch.zeros(len(pairs), _longest(pairs), dtype=torch.int64)
    for row, (prompt, response) in enumerate(pairs):
        ids[row, : len(prompt) + len(response)] = torch.tensor([*prompt, *response])
    ids = ids.to(model.device)
    keywords: dict[str, Any] = {
        STEERING_ROWS: torch.full_like(ids, UNSTEERED_LINE),
        RESIDUAL_TAP: tap,
    }
    embedded = model.get_input_embeddings()(ids).to(loaded.compute_dtype)
    states: Tensor = model.model(
        inputs_embeds=embedded, use_cache=False, **keywords
    ).last_hidden_state
    return states


def _response_mask(pairs: Sequence[Pair], device: torch.device) -> Tensor:
    """Which tokens are the response's: bool [batch, longest]."""
    mask = torch.zeros(len(pairs), _longest(pairs), dtype=torch.bool)
    for row, (prompt, response) in enumerate(pairs):
        mask[row, len(prompt) : len(prompt) + len(response)] = True
    return mask.to(device)


def _longest(pairs: Sequence[Pair]) -> int:
    return max(len(prompt) + len(response) for prompt, response in pairs)
