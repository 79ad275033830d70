"""Reads single values of a request's tensors."""

from __future__ import annotations

import math
import struct
from typing import Any

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.tensors import Values


def single(values: Values, name: str) -> Any | None:
    """Returns the only element of a value, `None` if it has none.

    Raises:
        InvalidArgumentError: It has several elements.
    """
    sequence = values.get(name, ())
    if len(sequence) > 1:
        raise InvalidArgumentError(f"{name} has {len(sequence)} elements: give one")
    return sequence[0] if len(sequence) else None


def string(values: Values, name: str) -> str:
    """Returns a text; `""` if it is left out.

    Raises:
        InvalidArgumentError: It has several elements.
    """
    value = single(values, name)
    return "" if value is None else str(value)


def boolean(values: Values, name: str, default: bool) -> bool:
    """Returns a switch.

    Raises:
        InvalidArgumentError: It has several elements.
    """
    value = single(values, name)
    return default if value is None else bool(value)


def integer(values: Values, name: str, default: Any, low: int, high: int) -> Any:
    """Returns an integer from `low` to `high`.

    Raises:
        InvalidArgumentError: It has several elements, or is out of range.
    """
    value = single(values, name)
    if value is None:
        return default
    if not low <= int(value) <= high:
        raise InvalidArgumentError(f"{name} is {value}: give an integer from {low} to {high}")
    return int(value)


def real(values: Values, name: str, default: float, low: float, high: float) -> float:
    """Returns a number from `low` to `high`.

    Raises:
        InvalidArgumentError: It has several elements, or is out of range.
    """
    value = single(values, name)
    if value is None:
        return default
    number = float(value)
    if not low <= number <= high:
        raise InvalidArgumentError(f"{name} is {number:g}: give a number from {low:g} to {high:g}")
    return number


def nearest_float32(number: float) -> float:
    """Returns what float32 makes of a number: infinity if it is too large, 0 if too small."""
    try:
        (narrow,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return math.copysign(math.inf, number)
    return float(narrow)
