"""Reading the monitored requests' projections in a step: one matrix product for all of them."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.scheduler import Slice
from triton_models.engine.upload import upload
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.readout import Readout


@dataclass(frozen=True, slots=True)
class MonitoredTokens:
    """Which tokens of a step are read, and for whom: generated ones of monitored requests.

    Attributes:
        readouts: The requests' readouts.
        counts: How many tokens each reads in this step.
        token_indices: All their places in the packed batch, one request after the other.
    """

    readouts: tuple[Readout, ...]
    counts: tuple[int, ...]
    token_indices: tuple[int, ...]

    @property
    def blocks(self) -> list[int]:
        """The blocks that any of them is read at."""
        return sorted({block for readout in self.readouts for block in readout.blocks})

    def tap(self, device: torch.device) -> ResidualTap | None:
        """Returns what keeps the tokens' hidden states, or `None` when there is nothing to read."""
        if not self.token_indices:
            return None
        return ResidualTap(self.blocks, upload(self.token_indices, device))

    def project(self, tap: ResidualTap) -> torch.Tensor:
        """Returns every kept hidden state's product with every direction.

        Returns:
            float32 [blocks, tokens, directions], on the device: more than is needed, for the sake
            of one product.
        """
        states = tap.states()
        stacked = torch.stack([states[block] for block in self.blocks]).float()
        directions = np.concatenate([readout.directions for readout in self.readouts])
        columns = upload(directions, stacked.device, torch.float32)
        return stacked @ columns.T

    def give(self, products: NDArray[np.float32]) -> None:
        """Gives each readout its part of the products, as returned by `project`."""
        place = {block: index for index, block in enumerate(self.blocks)}
        token, direction = 0, 0
        for readout, count in zip(self.readouts, self.counts, strict=True):
            rows = [place[block] for block in readout.blocks]
            columns = np.arange(direction, direction + len(rows))
            readout.add(products[rows, token : token + count, columns].T)
            token += count
            direction += len(rows)


def monitored_tokens(slices: SequenceOf[Slice]) -> MonitoredTokens:
    """Returns which tokens of a step's slices are read."""
    readouts: list[Readout] = []
    counts: list[int] = []
    indices: list[int] = []
    offset = 0
    for each in slices:
        sequence = each.sequence
        first = max(each.start, sequence.num_prompt_tokens)
        if sequence.readout is not None and first < each.end:
            readouts.append(sequence.readout)
            counts.append(each.end - first)
            indices += range(offset + first - each.start, offset + each.length)
        offset += each.length
    return MonitoredTokens(tuple(readouts), tuple(counts), tuple(indices))
