"""CUDA graphs for steps that only generate: the device replays them without Python in between.

A graph is recorded for each of a few batch sizes, over tensors of its own. A step fills them,
padding the batch up to the next size with tokens of nobody: they stand in the cache's slot 0, are
not steered, and their logits are cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from triton_models.engine.packed_batch import PackedBatch, Span

Compute = Callable[[PackedBatch], torch.Tensor]
"""The forward pass: the logits at the batch's `logit_indices`, float32 [indices, vocabulary]."""

_WARM_UP_RUNS = 2
"""Libraries set themselves up in a first run, which must not be recorded."""


def batch_sizes(num_rows: int) -> list[int]:
    """Returns the sizes to record: 1, 2, 4, 8, then every eighth, up to the most rows."""
    return sorted(
        {size for size in (1, 2, 4) if size < num_rows} | {*range(8, num_rows, 8), num_rows}
    )


def padding_batch(size: int, longest_reach: int, device: torch.device) -> PackedBatch:
    """Returns a batch of generating tokens of nobody.

    Args:
        size: How many.
        longest_reach: The most tokens that one may attend to, for any batch filled in later.
        device: Where the tensors go.
    """

    def zeros(count: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return torch.zeros(count, dtype=dtype, device=device)

    def count_up(count: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return torch.arange(count, dtype=dtype, device=device)

    return PackedBatch(
        input_ids=zeros(size),
        positions=zeros(size),
        slots=zeros(size),
        steering_rows=zeros(size),
        logit_indices=count_up(size),
        decodes=tuple(Span(offset, 1, 0, 1) for offset in range(size)),
        prefills=(),
        token_starts=count_up(size + 1, torch.int32),
        first_slots=zeros(size + 1, torch.int32),
        reaches=zeros(size, torch.int32) + 1,
        longest_slice=1,
        longest_reach=longest_reach,
    )


def pad(batch: PackedBatch, padding: PackedBatch) -> PackedBatch:
    """Returns a batch of single tokens, filled up to the size of `padding`."""
    count = len(batch.decodes)

    def join(tensor: torch.Tensor, filling: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor[:count], filling[count:]])

    return replace(
        padding,
        input_ids=join(batch.input_ids, padding.input_ids),
        positions=join(batch.positions, padding.positions),
        slots=join(batch.slots, padding.slots),
        steering_rows=join(batch.steering_rows, padding.steering_rows),
        decodes=batch.decodes + padding.decodes[count:],
        first_slots=join(batch.first_slots, padding.first_slots),
        reaches=join(batch.reaches, padding.reaches),
        longest_reach=batch.longest_reach,
    )


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    batch: PackedBatch
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
        self._paddings = {
            size: padding_batch(size, longest_reach, device) for size in batch_sizes(num_rows)
        }
        self._graphs: dict[int, _Graph] = {}
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(batch_sizes(num_rows)):  # the largest first: the others fit its memory
            self._graphs[size] = _record(compute, size, longest_reach, device, pool)

    def run(self, batch: PackedBatch) -> torch.Tensor:
        """Returns the logits of a batch of single tokens, float32 [tokens, vocabulary]."""
        count = len(batch.decodes)
        size = min(size for size in self._graphs if size >= count)
        recorded = self._graphs[size]
        filled = pad(batch, self._paddings[size])
        for each in fields(PackedBatch):
            target = getattr(recorded.batch, each.name)
            if isinstance(target, torch.Tensor):
                target.copy_(getattr(filled, each.name))
        recorded.graph.replay()
        return recorded.logits[:count].clone()


@torch.inference_mode()
def _record(
    compute: Compute, size: int, longest_reach: int, device: torch.device, pool: Any
) -> _Graph:
    batch = padding_batch(size, longest_reach, device)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_RUNS):
            compute(batch)
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        logits = compute(batch)
    return _Graph(graph, batch, logits)
