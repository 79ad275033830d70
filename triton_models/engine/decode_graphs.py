"""CUDA graphs for steps that only generate: the device replays them without Python in between.

A graph is recorded for each of a few batch sizes and each way of choosing tokens. All it is told is
which rows of the batch it computes, and that only when they are others than before; padding is the
dummy row. What it gives lies where the function it was recorded from puts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from triton_models.engine.sampling_table import SamplingMode
from triton_models.model.upload import upload

Step = Callable[[torch.Tensor, "SamplingMode | None"], None]
"""A step: takes rows, int64 [tokens], and how their tokens are chosen; without that, it ends with
their logits."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Makes what does the same as a function, faster."""


def batch_sizes(num_rows: int) -> list[int]:
    """Returns the sizes to record: 1, 2, 4, every eighth up to 256, every 64th, the most rows."""
    sizes = (1, 2, 4, *range(8, 256, 8), *range(256, num_rows, 64))
    return [*(size for size in sizes if size < num_rows), num_rows]


class DecodeGraphs:
    """Replays the steps of batches of single tokens.

    Args:
        step: The step.
        num_rows: The most tokens in a batch.
        dummy_row: The row that pads batches.
        device: Where the rows are.
        modes: The ways of choosing tokens to record.
        capture: Makes a replay of a step.
    """

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
        """The rows that are on the device."""
        self._sizes = batch_sizes(num_rows)

        def recorded(size: int, mode: SamplingMode | None) -> Callable[[], None]:
            rows = self._rows[:size]
            return capture(lambda: step(rows, mode))

        # The largest first: the others fit its memory.
        self._replays = {
            (size, mode): recorded(size, mode)
            for size in reversed(self._sizes)
            for mode in (*self.modes, None)
        }

    def run(self, rows: NDArray[np.int64], mode: SamplingMode | None) -> None:
        """Computes a step.

        Args:
            rows: int64 [tokens]: the rows that generate.
            mode: How their tokens are chosen, one of `modes`; without it, the step ends with
                their logits.
        """
        size = min(size for size in self._sizes if size >= len(rows))
        padding = (0, size - len(rows))
        padded = np.pad(rows, padding, constant_values=self._dummy_row)
        name = padded.tobytes()
        if name != self._sent:
            self._rows[:size].copy_(upload(padded, self._device))
            self._sent = name
        self._replays[size, mode]()


class GraphCapture:
    """Records CUDA graphs that share their memory: see `Capture`.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        # One for all: cuBLAS keeps a workspace for each stream that it ever ran on.
        self._stream = torch.cuda.Stream(device)

    @torch.inference_mode()
    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Returns the replay of a recording of the function, which must not wait for the device."""
        # Libraries set themselves up in a first run, which must not be recorded.
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            function()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        return graph.replay
