"""The fastest that a step could be on this machine, whoever computes it.

A step has to read every weight once, however many streams it serves, and to multiply it by each
stream's activations: the first takes the longer for few streams, the second for many. Attention,
which adds to both, is left out, so no step can be as fast as this.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.shapes import BenchmarkModel
from benchmarks.workload import Workload

_BUFFER_BYTES = 512 * 2**20
"""Much more than the caches of a processor hold."""

_MATRIX_SIZES = (256, 512, 1024, 2048)
_GPU_MATRIX_SIZES = (4096, 8192)
_SLOW_SECONDS = 0.2
"""A product that takes as long says enough: larger ones of a slow number format take minutes."""

_REPETITIONS = 5


@dataclass(frozen=True, slots=True)
class MachineRates:
    """What the machine can do, measured; multiplications and additions are operations."""

    bytes_per_second: float
    operations_per_second: float


@dataclass(frozen=True, slots=True)
class StepBound:
    """What a step takes at least, to read the weights and to multiply by them."""

    memory_seconds: float
    compute_seconds: float

    @property
    def seconds(self) -> float:
        """What it takes at least, by both."""
        return max(self.memory_seconds, self.compute_seconds)

    @property
    def limit(self) -> str:
        """What limits it."""
        return "memory" if self.memory_seconds >= self.compute_seconds else "arithmetic"


def step_bound(model: BenchmarkModel, rates: MachineRates, streams: int) -> StepBound:
    """Returns what a step that gives each stream a token takes at least."""
    operations = 2 * model.shape.num_parameters_per_step * streams
    return StepBound(
        memory_seconds=model.bytes_per_step / rates.bytes_per_second,
        compute_seconds=operations / rates.operations_per_second,
    )


def run_bound(model: BenchmarkModel, rates: MachineRates, workload: Workload) -> float:
    """Returns how many seconds a whole workload takes at least: its prompts, then its steps."""
    shape = model.shape
    per_stream = shape.num_block_parameters * workload.prompt_tokens + shape.num_output_parameters
    prompts = StepBound(
        memory_seconds=model.bytes_per_step / rates.bytes_per_second,
        compute_seconds=2 * per_stream * workload.streams / rates.operations_per_second,
    )
    # The prompts give the first tokens.
    steps = workload.new_tokens - 1
    return prompts.seconds + steps * step_bound(model, rates, workload.streams).seconds


def measure_rates(dtype: torch.dtype, device: str = "cpu") -> MachineRates:
    """Measures a device, a CPU with as many threads as torch is set to use.

    The arithmetic is the faster of the number format's own and float32's: on a processor without
    instructions for a format, computing in float32 is what one would do.
    """
    operations = max(_operations_per_second(each, device) for each in {dtype, torch.float32})
    return MachineRates(_bytes_per_second(device), operations)


def _bytes_per_second(device: str) -> float:
    """Returns the faster of two ways of reading memory: a sum, and a matrix times a vector."""
    matrix = torch.ones(_BUFFER_BYTES // 4 // 4096, 4096, device=device)
    vector = torch.ones(4096, device=device)
    seconds = min(_best_seconds(matrix.sum), _best_seconds(lambda: torch.mv(matrix, vector)))
    return matrix.nbytes / seconds


def _operations_per_second(dtype: torch.dtype, device: str) -> float:
    """Returns the rate of the size of matrices that is multiplied the fastest."""
    best = 0.0
    for size in (*_MATRIX_SIZES, *(_GPU_MATRIX_SIZES if device == "cuda" else ())):
        left = torch.ones(size, size, dtype=dtype, device=device)
        right = torch.ones(size, size, dtype=dtype, device=device)
        seconds = _best_seconds(functools.partial(torch.mm, left, right))
        best = max(best, 2 * size**3 / seconds)
        if seconds > _SLOW_SECONDS:
            break
    return best


def _best_seconds(action: Callable[[], object]) -> float:
    """Returns the shortest time of several: a bound must not be made easier by a disturbance."""
    action()
    times = []
    for _ in range(_REPETITIONS):
        _wait_for_gpu()
        begin = time.perf_counter()
        action()
        _wait_for_gpu()
        times.append(time.perf_counter() - begin)
    return min(times)


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
