"""Strict parsing of untrusted JSON: UTF-8 only, no duplicate keys, limited size and depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.json_values import exceeds
from triton_models.vectors.formats.limits import (
    MAX_STRING_CHARS,
    MAX_TEXT_BYTES,
    MAX_VALUES,
    as_float32,
    check_hidden_size,
    checked_index,
)
from triton_models.vectors.persona_vector import VectorFileError


def parse_json(content: bytes) -> Any:
    """Parses JSON.

    Raises:
        VectorFileError: It is too large, has too much but numbers, is not UTF-8, not JSON or too
            deep, or has a duplicate key.
    """
    if len(content) > MAX_TEXT_BYTES:
        raise VectorFileError(
            f"has {len(content)} bytes, more than the maximum of {MAX_TEXT_BYTES} for JSON: "
            "use safetensors"
        )
    try:
        text = content.decode("utf-8-sig")
        # Lists, objects, and by a letter that numbers lack, null, true, false, NaN and Infinity.
        if exceeds(text, "[{uaI", MAX_VALUES, MAX_STRING_CHARS):
            raise VectorFileError(
                f"has more than {MAX_VALUES} lists, objects, strings or words such as null, or "
                f"more than {MAX_STRING_CHARS} characters in strings: all else must be numbers"
            )
        return json.loads(
            text, object_pairs_hook=_without_doubles, parse_float=_float, parse_int=_int
        )
    except VectorFileError:
        raise  # which is a ValueError
    except (ValueError, RecursionError) as error:
        raise VectorFileError(f"is not valid JSON: {error}") from error


def parse_object(content: bytes, what: str) -> dict[str, Any]:
    """Parses a JSON object that messages call `what`; raises as `parse_json` does."""
    document = parse_json(content)
    if not isinstance(document, dict):
        raise VectorFileError(f"{what} must be a JSON object")
    return document


def parse_vectors(vectors: dict[str, Any]) -> dict[int, NDArray[np.float32]]:
    """Returns the vectors of a JSON object that maps indices to lists of numbers, by index.

    Raises:
        VectorFileError: A key is not an index, or a value is not a list of finite numbers.
    """
    return {checked_index(key): _vector(key, values) for key, values in vectors.items()}


def vector_lists(
    vectors: dict[int, NDArray[np.float32]], index_of: Callable[[int], int] = int
) -> dict[str, list[float]]:
    """Returns the JSON object that `parse_vectors` reads, of vectors by block."""
    return {str(index_of(block)): _exact(vectors[block]) for block in sorted(vectors)}


def _exact(vector: NDArray[np.float32]) -> list[float]:
    """Returns numbers with the shortest JSON from which every float32 can be restored exactly."""
    numbers = [float(str(value)) for value in vector]
    # The shortest digits of a float32 can round differently when parsed by way of a float64.
    exact = np.array(numbers, dtype=np.float64).astype(np.float32) == vector
    return [
        number if same else float(value)
        for number, same, value in zip(numbers, exact, vector, strict=True)
    ]


# A Python function per number lets other threads run, such as a gateway's event loop. Without one
# the parser would block them for seconds with a large file.
def _float(text: str) -> float:
    return float(text)


def _int(text: str) -> int:
    return int(text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise VectorFileError(f"has the key {key[:40]!r} twice in one object")
        document[key] = value
    return document


def _vector(key: str, values: Any) -> NDArray[np.float32]:
    what = f"the vector of block {key}"
    if not isinstance(values, list) or not values:
        raise VectorFileError(f"{what} must be a non-empty list of numbers")
    check_hidden_size(len(values), what)
    if not all(type(value) in (int, float) for value in values):
        raise VectorFileError(f"{what} holds something that is not a number")
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except OverflowError as error:
        raise VectorFileError(f"{what} holds a number too large") from error
    return as_float32(numbers, what)
