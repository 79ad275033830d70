"""CUDA graphs for decode steps: the device replays them without Python in between.

A graph is recorded for each of a few batch sizes and each sampling mode. Its only input is the rows
of the batch that it computes, sent only when they change; batches are padded with the dummy row.
Its outputs are where the recorded function put them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.sampling_table import SamplingMode
from triton_models.model.upload import upload

Step = Callable[[torch.Tensor, "SamplingMode | None"], None]
"""A step: takes rows, int64 [tokens], and their sampling mode; with `None` it stops at the
logits."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Records a function and returns its replay."""


def batch_sizes(num_rows: int) -> list[int]:
    """Returns the sizes to record: 1, 2, 4, multiples of 8 to 256, then of 64, and `num_rows`."""
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, num_rows, 64))
    return [*(size for size in sizes if size < num_rows), num_rows]


class DecodeGraphs:
    """Replays decode steps, padded with `dummy_row`; `modes` are the sampling modes to record."""

    def __init__(
        self,
        step: Step,
        num_rows: int,
        dummy_row: int,
        device: torch.device,
        modes: Iterable[SamplingMode],
        capture: Capture,
    ) -> None:
        self.modes = frozenset(modes)
        self._device = device
        self._dummy_row = dummy_row
        self._rows = torch.full((num_rows,), dummy_row, dtype=torch.int64, device=device)
        self._sent = b""
        """The rows on the device, as bytes."""
        self._sizes = batch_sizes(num_rows)

        def recorded(size: int, mode: SamplingMode | None) -> Callable[[], None]:
            rows = self._rows[:size]
            return capture(lambda: step(rows, mode))

        # The largest first: the others reuse its memory.
        self._replays = {
            (size, mode): recorded(size, mode)
            for size in reversed(self._sizes)
            for mode in (*self.modes, None)
        }

    def holds(self, least: int) -> bool:
        """Whether steps of at least so many rows are recorded."""
        return least <= max(self._sizes)

    def run(self, rows: NDArray[np.int64], mode: SamplingMode | None, least: int = 1) -> None:
        """Replays a step of at least so many rows.

        Args:
            rows: int64 [tokens]: the rows to compute.
            mode: Their sampling mode; without one it stops at the logits.
            least: See above.
        """
        size = min(size for size in self._sizes if size >= max(len(rows), least))
        padding = (0, size - len(rows))
        padded = np.pad(rows, padding, constant_values=self._dummy_row)
        name = padded.tobytes()
        if name != self._sent:
            self._rows[:size].copy_(upload(padded, self._device))
            self._sent = name
        self._replays[size, mode]()


class GraphCapture:
    """Records CUDA graphs that share their memory; a `Capture`."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # One stream for all graphs: cuBLAS keeps a workspace for each stream that it has run on.
        self._stream = torch.cuda.Stream(device)

    @torch.inference_mode()
    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Records the function, which must not synchronize with the device; returns its replay."""
        # Libraries initialize themselves in a first run, which must not be recorded.
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        return graph.replay
