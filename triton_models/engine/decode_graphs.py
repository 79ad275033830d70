"""CUDA graphs for steps that only generate: the device replays them without Python in between.

A graph is recorded for each of a few batch sizes, over tensors of its own. A step fills them,
padding the batch up to the next size with dummy tokens: they stand in the cache's slot 0, are not
steered, and their logits are cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.packed_batch import Generating
from triton_models.model.upload import upload

Compute = Callable[[torch.Tensor, int], torch.Tensor]
"""The forward pass of generating tokens: takes their columns, int64 [4, tokens], and the most
tokens that one attends to; returns their logits, float32 [tokens, vocabulary]."""

_WARM_UP_RUNS = 2
"""Libraries set themselves up in a first run, which must not be recorded."""


def batch_sizes(num_rows: int) -> list[int]:
    """Returns the sizes to record: 1, 2, 4, 8, then every eighth, up to the most rows."""
    return sorted(
        {size for size in (1, 2, 4) if size < num_rows} | {*range(8, num_rows, 8), num_rows}
    )


def pad(columns: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Fills generating tokens' columns up to a size with dummies: all their columns are 0."""
    return np.pad(columns, ((0, 0), (0, size - columns.shape[1])))


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    columns: torch.Tensor
    logits: torch.Tensor


class DecodeGraphs:
    """Replays the forward pass of batches of single tokens.

    Args:
        compute: The forward pass.
        num_rows: The most tokens in a batch.
        longest_reach: The most tokens that one attends to.
        device: The GPU.
    """

    def __init__(
        self, compute: Compute, num_rows: int, longest_reach: int, device: torch.device
    ) -> None:
        self._device = device
        self._graphs: dict[int, _Graph] = {}
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(batch_sizes(num_rows)):  # the largest first: the others fit its memory
            self._graphs[size] = _record(compute, size, longest_reach, device, pool)

    def run(self, generating: Generating) -> torch.Tensor:
        """Returns the logits of a batch of single tokens, float32 [tokens, vocabulary]."""
        count = generating.columns.shape[1]
        size = min(size for size in self._graphs if size >= count)
        recorded = self._graphs[size]
        recorded.columns.copy_(upload(pad(generating.columns, size), self._device))
        recorded.graph.replay()
        return recorded.logits[:count].clone()


@torch.inference_mode()
def _record(
    compute: Compute, size: int, longest_reach: int, device: torch.device, pool: Any
) -> _Graph:
    columns = torch.zeros((4, size), dtype=torch.int64, device=device)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_RUNS):
            compute(columns, longest_reach)
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        logits = compute(columns, longest_reach)
    return _Graph(graph, columns, logits)
