"""The kernels' block sizes: measured once for a kind of card, not searched for at each start.

They were chosen on an H100 (80 GB, HBM3) by the time of a whole step of Qwen2.5's 3B shape, one row
for products; other shapes and cards use the same. 7B would be 7 per cent faster with its own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttentionBlocks:
    """How a program attends.

    Attributes:
        num_keys: How many keys it reads at a time.
        num_warps: How many warps it has.
        num_stages: How many steps of its loop it has under way, those included whose keys and
            values are still being loaded.
    """

    num_keys: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True, slots=True)
class ProductBlocks:
    """How a program multiplies few rows by some of a matrix' output features.

    Attributes:
        num_outputs: How many output features it computes.
        num_inputs: How many input features it reads at a time.
        num_warps: How many warps it has.
        num_stages: How many steps of its loop it has under way, those included whose weights are
            still being loaded; 1 loads straight into registers.
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
"""The most rows that a step multiplies by kernels of its own; for more, cuBLAS is at least as fast.
On an H100 two rows of 3B take 3.2 ms a step, about as long as with cuBLAS."""

_WANTED_PROGRAMS = 264
"""How many programs keep a card busy: two for each of an H100's multiprocessors."""

_MIN_MAX_SPLITS = 16
_TOKENS_PER_SPLIT = 512


def attention_splits(num_tokens: int, num_shared: int, context_length: int) -> int:
    """Returns in how many parts sequences are read, a power of two.

    It depends on nothing that changes from step to step, since a CUDA graph holds it.

    Args:
        num_tokens: How many sequences there are.
        num_shared: How many key/value heads.
        context_length: The most tokens of a sequence.
    """
    wanted = next_power_of_two(-(-_WANTED_PROGRAMS // (num_tokens * num_shared)))
    max_splits = max(
        _MIN_MAX_SPLITS, min(next_power_of_two(context_length // _TOKENS_PER_SPLIT), 64)
    )
    return min(wanted, max_splits)


def next_power_of_two(number: int) -> int:
    """Returns the smallest power of two that is at least a positive number."""
    return 1 << (number - 1).bit_length()
