"""Plain forward passes over the weights that an engine serves from.

A real model's weights do not fit twice. So a plain pass runs the engine's own model while no
request is in the engine, which launches nothing more once the last one has its last chunk.
Sequences stand side by side and attend to themselves, without the engine's KV cache, and the
engine's permanent hooks are told to steer nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persona_research.progress import OnDone, ignore_progress
from persona_research.residuals import ResidualMeans
from triton_models.model.attention import WholeSequences
from triton_models.model.loading import LoadedModel
from triton_models.model.transformer import ForwardContext
from triton_models.steering.table import UNSTEERED_LINE

T = TypeVar("T")
U = TypeVar("U")

Pair = tuple[list[int], list[int]]
"""A prompt's tokens and a response's."""

PASS_TOKENS = 4096
"""The most tokens of one pass, unless a single pair has more."""


Call = Callable[[Callable[[], T]], T]
"""Computes something on the engine's thread. One batch at a time, so that it can be interrupted."""


def in_batches(
    pairs: Sequence[U],
    batches: Iterable[Sequence[int]],
    compute: Callable[[Sequence[U]], Sequence[T]],
    nothing: T,
    call: Call[Sequence[T]],
    on_done: OnDone = ignore_progress,
) -> list[T]:
    """Computes something of each pair, batch by batch.

    Args:
        pairs: The pairs, with whatever else belongs to each.
        batches: Indices of pairs that are computed together.
        compute: Takes a batch's pairs to what is wanted of each.
        nothing: What pairs get that are in no batch.
        call: Computes on the engine's thread.
        on_done: Is told how many pairs are done.
    """
    found = [nothing] * len(pairs)
    done = 0
    for batch in batches:
        computed = call(partial(compute, [pairs[place] for place in batch]))
        for place, each in zip(batch, computed, strict=True):
            found[place] = each
        done += len(batch)
        on_done(done)
    return found


def residual_means(
    loaded: LoadedModel, pairs: Sequence[Pair], on_done: OnDone, call: Call[None]
) -> ResidualMeans:
    """Measures the residual at every block's output over the responses' tokens.

    Raises:
        ValueError: A pair is longer than the model's context.
    """
    means = ResidualMeans()
    for batch in batches(pairs, loaded.context_length):
        call(partial(_add_means, loaded, [pairs[index] for index in batch], means))
        on_done(means.answers)
    return means


@torch.inference_mode()
def _add_means(loaded: LoadedModel, pairs: Sequence[Pair], means: ResidualMeans) -> None:
    states_of(loaded, pairs, _MeansTap(means, _response_weights(pairs, loaded.model.device)))
    means.answers += len(pairs)
    means.tokens += sum(len(response) for _, response in pairs)


def projections(
    loaded: LoadedModel,
    pairs: Sequence[Pair],
    directions: Mapping[int, NDArray[np.float32]],
    on_done: OnDone,
    call: Call[Sequence[NDArray[np.float32]]],
) -> list[NDArray[np.float32]]:
    """Measures h.v of the responses' tokens; `directions` has the unit vector v of each block.

    Returns:
        For each pair float32 [directions, response tokens].

    Raises:
        ValueError: A pair is longer than the model's context.
    """
    return in_batches(
        pairs,
        batches(pairs, loaded.context_length),
        partial(_projections, loaded, directions),
        np.zeros((len(directions), 0), np.float32),
        call,
        on_done,
    )


@torch.inference_mode()
def _projections(
    loaded: LoadedModel, directions: Mapping[int, NDArray[np.float32]], pairs: Sequence[Pair]
) -> list[NDArray[np.float32]]:
    tap = _ProjectionsTap(
        {block: torch.tensor(each) for block, each in directions.items()},
        _response_weights(pairs, loaded.model.device) > 0,
    )
    states_of(loaded, pairs, tap)
    products = torch.stack([tap.products[block] for block in directions]).cpu()
    lengths = [len(response) for _, response in pairs]
    return [each.numpy() for each in products.split(lengths, dim=1)]


class Tap:
    """What looks at every block's output."""

    def read(self, block: int, hidden_states: Tensor) -> None:
        """Takes a block's output, [tokens, hidden size]."""
        raise NotImplementedError

    def read_unsteered(self, block: int, hidden_states: Tensor) -> None:
        """Takes the same before steering, of which there is none here."""


class _MeansTap(Tap):
    """Stands where the engine's hooks look for a tap, and adds up what they show it."""

    def __init__(self, means: ResidualMeans, weights: Tensor) -> None:
        self._means = means
        self._weights = weights

    def read(self, block: int, hidden_states: Tensor) -> None:
        """Adds a block's output, [tokens, hidden size]."""
        self._means.add(block, hidden_states, self._weights)


class _ProjectionsTap(Tap):
    """Projects the tokens at some places onto a direction of each block."""

    def __init__(self, directions: Mapping[int, Tensor], places: Tensor) -> None:
        self._directions = directions
        self._places = places
        self.products: dict[int, Tensor] = {}

    def read(self, block: int, hidden_states: Tensor) -> None:
        """Projects a block's output, [tokens, hidden size]."""
        if block in self._directions:
            states = hidden_states[self._places].float()
            self.products[block] = states @ self._directions[block].to(states.device)


def check_lengths(pairs: Sequence[Pair], context_length: int) -> None:
    """Raises `ValueError` if a pair is longer than the model's context."""
    longest = max(_lengths(pairs), default=0)
    if longest > context_length:
        raise ValueError(
            f"a prompt and its answer have {longest} tokens: the context holds "
            f"{context_length}; use shorter prompts, or a larger MAX_CONTEXT"
        )


def batches(pairs: Sequence[Pair], context_length: int) -> Iterator[list[int]]:
    """Indices of pairs of like length whose response is not empty."""
    check_lengths(pairs, context_length)
    lengths = _lengths(pairs)
    chosen = [index for index, (_, response) in enumerate(pairs) if response]
    batch: list[int] = []
    num_tokens = 0
    for index in sorted(chosen, key=lengths.__getitem__):
        if batch and num_tokens + lengths[index] > PASS_TOKENS:
            yield batch
            batch, num_tokens = [], 0
        batch.append(index)
        num_tokens += lengths[index]
    if batch:
        yield batch


def states_of(loaded: LoadedModel, pairs: Sequence[Pair], tap: Tap | None = None) -> Tensor:
    """Runs pairs through the blocks: the last one's output, [tokens of all pairs, hidden size]."""
    model = loaded.model
    lengths = _lengths(pairs)
    ids = [token for prompt, response in pairs for token in (*prompt, *response)]
    positions = [position for length in lengths for position in range(length)]
    context = ForwardContext(
        WholeSequences(lengths, model.architecture),
        torch.full((len(ids),), UNSTEERED_LINE, device=model.device),
        tap,
    )
    states: Tensor = model(
        torch.tensor(ids, device=model.device),
        torch.tensor(positions, device=model.device),
        context,
    )
    return states


def _response_weights(pairs: Sequence[Pair], device: torch.device) -> Tensor:
    """How much each token counts, float32 [tokens]: a response's tokens share its whole weight."""
    weights: list[float] = []
    for prompt, response in pairs:
        weights += [0.0] * len(prompt) + [1 / len(response)] * len(response)
    return torch.tensor(weights, device=device)


def _lengths(pairs: Sequence[Pair]) -> list[int]:
    return [len(prompt) + len(response) for prompt, response in pairs]
