"""Steerings of a block for the kernels' tests."""

from __future__ import annotations

from collections.abc import Callable

import torch

from triton_models.contract.steering import OPERATION_PLACES
from triton_models.kernels.steering import BlockSteering


def block_steering(
    tensor: Callable[..., torch.Tensor], num_rows: int, num_tokens: int, size: int
) -> BlockSteering:
    """Returns a steering whose tensors, made by `tensor(*shape, of=dtype)`, have the right shapes.

    Deltas and directions have the default dtype of `tensor`.
    """
    floats, rows = torch.float32, num_rows + 1
    return BlockSteering(
        block=2,
        deltas=tensor(2 * num_rows + 1, size),
        counts=tensor(rows, of=torch.int32),
        directions=tensor(rows, OPERATION_PLACES, size),
        bounds=tensor(rows, OPERATION_PLACES, 4, of=floats),
        gate_blocks=tensor(rows, of=torch.int32),
        gate_directions=tensor(rows, size),
        thresholds=tensor(rows, of=floats),
        lines=tensor(num_tokens, of=torch.int64),
        factors=tensor(num_tokens, of=floats),
        gates=tensor(num_tokens, of=floats),
        num_gates=num_tokens,
    )
