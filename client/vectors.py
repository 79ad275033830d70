"""Vectors that a request brings along, as a program says them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from persona_client.errors import InvalidRequestError

Vectors = Mapping[str, Mapping[int, Any]]
"""For each name its vector: for each decoder block, from 0, an array or a list of its numbers."""


def vectors_json(vectors: Vectors) -> dict[str, Any]:
    """Returns what a request says.

    Raises:
        InvalidRequestError: Some are no numbers in one dimension, or too large for a float32.
    """
    return {
        name: {"layers": {str(layer): _base64(name, layer, blocks[layer]) for layer in blocks}}
        for name, blocks in vectors.items()
    }


def _base64(name: str, layer: int, numbers: Any) -> str:
    try:
        # NumPy's and PyTorch's arrays have it, neither of which is needed here.
        values = numbers.tolist() if hasattr(numbers, "tolist") else list(numbers)
        packed = struct.pack(f"<{len(values)}f", *values)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise InvalidRequestError(
            f"vectors[{name!r}][{layer!r}] must be an array of one dimension, or a list, of "
            f"numbers that a float32 can hold: {error}"
        ) from error
    return base64.b64encode(packed).decode()
