"""The kernels' block sizes: measured once, not autotuned at each start.

They were chosen on an H100 (80 GB, HBM3) by the time of a whole step of Qwen2.5's 3B shape, one row
for products; other shapes and GPUs use the same. 7B would be 7 per cent faster with its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttentionBlocks:
    """The configuration of the attention kernel.

    Attributes:
        num_stages: The number of pipeline stages of its loop.
    """

    num_keys: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True, slots=True)
class ProductBlocks:
    """The configuration of a matrix product of few rows.

    Attributes:
        num_outputs: The number of output features of a program.
        num_inputs: The number of input features per iteration.
        num_stages: The number of pipeline stages of its loop; 1 loads straight into registers.
    """

    num_outputs: int
    num_inputs: int
    num_warps: int
    num_stages: int = 1


ATTENTION = AttentionBlocks(num_keys=32, num_warps=2, num_stages=3)

QUERY_KEY_VALUE = ProductBlocks(2, 2048, 4, 2)
OUTPUT = ProductBlocks(1, 512, 1)
GATE_UP = ProductBlocks(1, 1024, 4)
DOWN = ProductBlocks(4, 1024, 4, 3)
HEAD = ProductBlocks(2, 1024, 4)

MAX_FEW_ROWS = 2
"""The maximum number of rows for these kernels; for more, cuBLAS is at least as fast. On an H100 a
step of two rows of 3B takes 3.2 ms, about as long as with cuBLAS."""

_WANTED_PROGRAMS = 264
"""How many programs occupy a GPU: two for each of an H100's multiprocessors."""

_MIN_MAX_SPLITS = 16
_TOKENS_PER_SPLIT = 512


def attention_splits(num_tokens: int, num_shared: int, context_length: int) -> int:
    """Returns the number of splits that sequences are read in, a power of two.

    It does not depend on anything that changes from step to step, since a CUDA graph fixes it.
    `num_shared` is the number of key/value heads.
    """
    wanted = next_power_of_two(-(-_WANTED_PROGRAMS // (num_tokens * num_shared)))
    max_splits = max(
        _MIN_MAX_SPLITS, min(next_power_of_two(context_length // _TOKENS_PER_SPLIT), 64)
    )
    return min(wanted, max_splits)


def next_power_of_two(number: int) -> int:
    """Returns the smallest power of two that is at least a positive number."""
    return 1 << (number - 1).bit_length()
