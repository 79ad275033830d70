"""Bringing small arrays to the device without waiting for it."""

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
    """Returns what is on the host, and nobody changes any more, as a tensor on the device.

    To a GPU it goes from pinned memory, which lets the copy be queued behind the work under way; a
    plain copy would wait for all of that first.

    Args:
        values: The elements.
        device: Where the tensor goes.
        dtype: Its dtype.
    """
    tensor = torch.as_tensor(values, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
