"""Vectors that a request brings along, as a program says them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persona_client.errors import InvalidRequestError

Layers = Mapping[int, Any]
"""For each decoder block, from 0, an array or a list of a vector's numbers."""


@dataclass(frozen=True)
class Vector:
    """A vector that is meant for an operation.

    Attributes:
        operation: The kind, such as `ablate`, or an object with `kind`, `value` and `unit`; scalars
            are its strength, from 0 to 1.
    """

    layers: Layers
    operation: str | Mapping[str, Any]


Vectors = Mapping[str, Layers | Vector]
"""Vectors by the names that steering says."""


def vectors_json(vectors: Vectors) -> dict[str, Any]:
    """Returns what a request says.

    Raises:
        InvalidRequestError: Some are no numbers in one dimension, or too large for a float32.
    """
    return {name: _vector(name, vector) for name, vector in vectors.items()}


def _vector(name: str, vector: Layers | Vector) -> dict[str, Any]:
    if isinstance(vector, Vector):
        return {**_vector(name, vector.layers), "operation": vector.operation}
    return {"layers": {str(layer): _base64(name, layer, vector[layer]) for layer in vector}}


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
