"""Copies small arrays to the device without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import torch
from numpy.typing import NDArray


def upload(
    values: SequenceOf[float] | NDArray[Any] | torch.Tensor,
    device: torch.device,
    dtype: torch.dtype = torch.int64,
) -> torch.Tensor:
    """Returns a tensor on the device with values from the host, which must not change afterwards.

    A GPU copies from pinned memory, asynchronously and behind the work that is queued; a plain copy
    would wait for that work.
    """
    tensor = torch.as_tensor(values, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
