"""Permanent forward hooks that give every row of a batch its own steering.

A hook adds `table[lines]` to its decoder block's output, where `lines` holds each token's line of
the block's table (`table.py`), and follows the rules of rows that have any (`token_rules.py`). A
request that starts or ends only writes lines of the table; the
hooks never change and hold no state of any request, so the same graph serves every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from triton_models.model.transformer import ForwardContext
from triton_models.steering.table import SteeringTable


class SteeringNotAppliedError(RuntimeError):
    """A forward pass ran without steering every block: its logits must not be used."""


def _all_of(_block: int, states: torch.Tensor) -> torch.Tensor:
    return states


class ResidualTap:
    """Keeps some tokens' hidden states at the output of some blocks in one forward pass.

    They are the steered ones, `hidden_states[block + 1]` of transformers.

    Args:
        blocks: The blocks.
        token_indices: int64 [kept]: the tokens' places in the packed batch.
        num_unsteered: Of how many of them, the first ones, the states before steering are kept too.
        keep: Returns what to keep of a block's states, [tokens, hidden_size]; all by default.
    """

    def __init__(
        self,
        blocks: Iterable[int],
        token_indices: torch.Tensor,
        num_unsteered: int = 0,
        keep: Callable[[int, torch.Tensor], torch.Tensor] = _all_of,
    ) -> None:
        self._states: dict[int, torch.Tensor | None] = dict.fromkeys(blocks)
        self._unsteered = dict(self._states) if num_unsteered else {}
        self._token_indices = token_indices
        self._unsteered_indices = token_indices[:num_unsteered]
        self._keep = keep

    def reads_unsteered(self, block: int) -> bool:
        """Whether it is to read a block's output before steering."""
        return block in self._unsteered

    def read_unsteered(self, block: int, hidden_states: torch.Tensor) -> None:
        """Keeps some tokens of a block's output before steering, [tokens, hidden_size]."""
        if block in self._unsteered:
            states = hidden_states.index_select(0, self._unsteered_indices)
            self._unsteered[block] = self._keep(block, states)

    def read(self, block: int, hidden_states: torch.Tensor) -> None:
        """Keeps the selected tokens of a block's output, [tokens, hidden_size]."""
        if block in self._states:
            states = hidden_states.index_select(0, self._token_indices)
            self._states[block] = self._keep(block, states)

    def states(self) -> dict[int, torch.Tensor]:
        """Returns for each block what was kept of the tokens' hidden states.

        Raises:
            SteeringNotAppliedError: The forward pass skipped one of the blocks.
        """
        return _computed(self._states)

    def unsteered_states(self) -> dict[int, torch.Tensor]:
        """Returns the same before steering; empty if it was not wanted.

        Raises:
            SteeringNotAppliedError: The forward pass skipped one of the blocks.
        """
        return _computed(self._unsteered)


def _computed(states: Mapping[int, torch.Tensor | None]) -> dict[int, torch.Tensor]:
    computed = {block: state for block, state in states.items() if state is not None}
    if len(computed) < len(states):
        raise SteeringNotAppliedError("a monitored block was not computed")
    return computed


class SteeringHooks:
    """Adds each token's delta at the output of every decoder block of a model."""

    def __init__(self, blocks: nn.ModuleList, table: SteeringTable) -> None:
        self._fired = 0
        self._num_blocks = len(blocks)
        for index, block in enumerate(blocks):
            block.register_forward_hook(self._hook(index, table.of_block(index)), prepend=True)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Makes sure that the forward pass inside the context is steered at every block.

        Raises:
            SteeringNotAppliedError: A hook did not run, or more than once.
        """
        self._fired = 0
        yield
        if self._fired != self._num_blocks:
            raise SteeringNotAppliedError(
                f"steering ran at {self._fired} of {self._num_blocks} decoder blocks"
            )

    def _hook(self, block: int, deltas: torch.Tensor) -> Any:
        def add_steering(
            _module: nn.Module, args: tuple[torch.Tensor, ForwardContext], output: torch.Tensor
        ) -> None:
            self._fired += 1
            context = args[1]
            if context.tap is not None:
                context.tap.read_unsteered(block, output)
            # In place, since nothing else uses a block's output. output: [tokens, hidden]
            added = deltas.index_select(0, context.steering_lines)
            if context.rules is None:
                output.add_(added)
            else:
                context.rules.steer(block, output, added)
            if context.tap is not None:
                context.tap.read(block, output)

        return add_steering
