"""The projections that requests read in a step: one matrix product for all of them."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.sequence import Sequence
from triton_models.model.upload import upload
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.limits import LimitWatch
from triton_models.steering.readout import Readout


@dataclass(frozen=True, slots=True)
class MonitoredTokens:
    """The generated tokens of monitored requests in a step.

    Attributes:
        readers: Who reads the projections of a token.
        token_indices: The index of each one's token in the packed batch.
    """

    readers: tuple[Readout | LimitWatch, ...]
    token_indices: tuple[int, ...]

    @property
    def blocks(self) -> list[int]:
        """The blocks that any reader needs."""
        return sorted({block for reader in self.readers for block in reader.blocks})

    def tap(self, device: torch.device) -> ResidualTap | None:
        """Returns a tap for the tokens' hidden states, `None` if nothing is monitored."""
        if not self.token_indices:
            return None
        return ResidualTap(self.blocks, upload(self.token_indices, device))

    def project(self, tap: ResidualTap) -> torch.Tensor:
        """Returns the dot product of every kept hidden state with every direction.

        Returns:
            float32 [blocks, tokens, directions], on the device: more than is needed, so that one
            matrix product suffices.
        """
        states = tap.states()
        stacked = torch.stack([states[block] for block in self.blocks]).float()
        directions = np.concatenate([reader.directions for reader in self.readers])
        columns = upload(directions, stacked.device, torch.float32)
        return stacked @ columns.T

    def give(self, products: NDArray[np.float32]) -> None:
        """Gives each reader its part of the products, as returned by `project`."""
        place = {block: index for index, block in enumerate(self.blocks)}
        direction = 0
        for token, reader in enumerate(self.readers):
            rows = [place[block] for block in reader.blocks]
            columns = np.arange(direction, direction + len(rows))
            reader.add(products[rows, token, columns][None])
            direction += len(rows)


def monitored_tokens(sequences: SequenceOf[Sequence]) -> MonitoredTokens:
    """Returns the monitored ones of a step's generating sequences, whose tokens come first."""
    read = [
        (reader, place)
        for place, each in enumerate(sequences)
        for reader in (each.readout, each.limits)
        if reader is not None
    ]
    return MonitoredTokens(*zip(*read, strict=True)) if read else MonitoredTokens((), ())
