"""The projections that requests read in a step, made on the device as the step goes."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from operator import is_

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.scheduler import Plan
from triton_models.model.upload import upload
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.limits import LimitWatch
from triton_models.steering.readout import Mean, Readout

Reader = Readout | LimitWatch
"""What reads the projections of a request's tokens."""


class DirectionStack:
    """The directions of some readers on the device, equal ones once.

    Args:
        readers: The readers.
        device: The device.

    Attributes:
        readers: The same.
        columns: For each of them the places of its directions among all of them, block by block.
        of_block: For each block, in order, its directions, float32 [directions, hidden_size].
    """

    def __init__(self, readers: SequenceOf[Reader], device: torch.device) -> None:
        self.readers = readers
        # Once for each, since a reader of many turns is there once for each of them.
        named = {
            reader: [
                ((each.block, each.vector.tobytes()), each.vector) for each in reader.directions
            ]
            for reader in dict.fromkeys(readers)
        }
        vectors = dict(pair for pairs in named.values() for pair in pairs)
        places = {name: place for place, name in enumerate(sorted(vectors))}
        columns = {reader: [places[name] for name, _ in pairs] for reader, pairs in named.items()}
        self.columns = [columns[reader] for reader in readers]
        by_block: dict[int, list[NDArray[np.float32]]] = {}
        for name in places:
            by_block.setdefault(name[0], []).append(vectors[name])
        self.of_block = {
            block: upload(np.stack(stacked), device, torch.float32)
            for block, stacked in by_block.items()
        }

    def is_of(self, readers: SequenceOf[Reader]) -> bool:
        """Whether it is that of the same readers in the same order."""
        return len(readers) == len(self.readers) and all(map(is_, readers, self.readers))

    def project(self, block: int, states: torch.Tensor) -> torch.Tensor:
        """Returns hidden states' projections onto a block's directions, [tokens, directions]."""
        return states.float() @ self.of_block[block].T


@dataclass(frozen=True, slots=True)
class MonitoredTokens:
    """The tokens of a step that are read.

    Attributes:
        stack: The directions of their readers: first those of generated tokens, each of one token,
            then those of the turns.
        token_indices: The places of the tokens in the packed batch.
        turns: The means of turns of prompts, and how many tokens of each the step computes.
    """

    stack: DirectionStack
    token_indices: SequenceOf[int]
    turns: SequenceOf[tuple[Mean, int]]

    @property
    def _generating(self) -> SequenceOf[Reader]:
        return self.stack.readers[: len(self.stack.readers) - len(self.turns)]

    @property
    def _num_unsteered(self) -> int:
        """Of how many of the tokens, the first ones, the projections before steering are wanted."""
        reads_any = any(reader.reads_before for reader in self._generating)
        return len(self._generating) if reads_any else 0

    def tap(self, device: torch.device) -> ResidualTap:
        """Returns a tap that keeps the tokens' projections."""
        indices = upload(self.token_indices, device)
        return ResidualTap(self.stack.of_block, indices, self._num_unsteered, self.stack.project)

    def projections(self, tap: ResidualTap) -> torch.Tensor:
        """Returns the projections of every token onto every direction, on the device.

        Returns:
            float32 [tokens + those read before steering, directions]: more than is needed, so that
            one matrix product for each block suffices, and one copy to the host.
        """
        kept = [states for states in (tap.states(), tap.unsteered_states()) if states]
        return torch.cat(
            [torch.cat([states[block] for block in self.stack.of_block], 1) for states in kept]
        )

    def give(self, projections: torch.Tensor) -> None:
        """Gives each reader its part of the projections, which are on the host."""
        num_generating = len(self._generating)
        columns_of = self.stack.columns
        after = projections[:num_generating].tolist()
        before = projections[len(self.token_indices) :].tolist()
        for index, reader in enumerate(self._generating):
            rows = (after[index], before[index]) if reader.reads_before else (after[index],)
            reader.add(*([row[column] for column in columns_of[index]] for row in rows))
        start = num_generating
        for (mean, count), columns in zip(self.turns, columns_of[num_generating:], strict=True):
            part = projections[start : start + count, columns]
            mean.add(part.sum(0, dtype=torch.float64).tolist(), count)
            start += count


class Monitor:
    """Finds what a step's requests read, and keeps their directions on the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stack = DirectionStack((), device)

    def tokens(self, plan: Plan) -> MonitoredTokens | None:
        """Returns the tokens of a step that are read; `None` if there are none."""
        readers: list[Reader] = []
        indices: list[int] = []
        for place, sequence in enumerate(plan.generating):
            for reader in (sequence.readout, sequence.limits):
                if reader is not None:
                    readers.append(reader)
                    indices.append(place)
        turns: list[tuple[Mean, int]] = []
        offset = len(plan.generating)
        for each in plan.prompts:
            readout = each.sequence.readout
            for turn, mean in readout.turns if readout is not None else ():
                first, end = max(turn.start, each.start), min(turn.end, each.end)
                if readout is not None and first < end:
                    readers.append(readout)
                    turns.append((mean, end - first))
                    indices += range(offset + first - each.start, offset + end - each.start)
            offset += each.length
        if not readers:
            return None
        if not self._stack.is_of(readers):
            self._stack = DirectionStack(readers, self._device)
        return MonitoredTokens(self._stack, indices, turns)

    def forget(self, readers: SequenceOf[Reader | None]) -> None:
        """Lets go of the directions if any of these readers, whose sequence has ended, had some."""
        if any(reader in readers for reader in self._stack.readers):
            self._stack = DirectionStack((), self._device)
