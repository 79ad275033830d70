"""Vectors that a request brings along, for itself alone: the JSON of the input `vectors`.

No message has any of their numbers, since messages are logged.
"""

from __future__ import annotations

import base64
import hashlib
import math
import reprlib
import struct
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.json_input import parse_json
from triton_models.contract.steering import (
    MAX_LAYERS,
    MAX_TRAITS,
    Operation,
    check_trait_length,
)
from triton_models.contract.steering_document import parse_vector_operation
from triton_models.contract.tensors import Values
from triton_models.contract.values import string

EXAMPLE = '{"mine": {"layers": {"15": "AACAPwAAgD8..."}}}'

Dtype = Literal["float32", "float16"]
DTYPES: dict[Dtype, str] = {"float32": "f", "float16": "e"}
"""What the numbers can be, with the letters of the module struct."""

if TYPE_CHECKING:
    Numbers = array[float]

COUNTED_AS = "vector of a request"
"""What metrics call all of them together: clients choose their names."""

_FIELDS = ("layers", "dtype", "operation")

_PIECE_BYTES = 65_536
"""So many bytes of float16 numbers are unpacked in one go, while no other thread runs."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestVector:
    """A vector that a request can steer by under its name, as by a trait.

    Attributes:
        name: Not a trait's of the server, which the engine checks.
        blocks: For each 0-based decoder block float32 numbers [hidden size] that are not all zero.
        digest: The SHA-256 of the numbers and their blocks in hexadecimal, which tells vectors of
            the same name apart; the same for float16 and float32.
        operation: What it is meant for, as a vector file's metadata can say; `None` is to be added.
    """

    name: str
    blocks: Mapping[int, Numbers]
    digest: str
    operation: Operation | None = None

    @property
    def num_bytes(self) -> int:
        """How much memory the numbers take."""
        return sum(len(numbers) * numbers.itemsize for numbers in self.blocks.values())


def parse_request_vectors(values: Values) -> tuple[RequestVector, ...]:
    """Makes vectors of the value of `vectors`; other values are ignored.

    Raises:
        InvalidArgumentError: It is malformed, has too much, or numbers that cannot steer.
    """
    text = string(values, "vectors")
    if not text:
        return ()
    return vectors_of(parse_json("vectors", text, EXAMPLE))


def vectors_of(document: Any) -> tuple[RequestVector, ...]:
    """Makes vectors of what the JSON of `vectors` says.

    Raises:
        InvalidArgumentError: See `parse_request_vectors`.
    """
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"vectors must be an object of vectors by name: {EXAMPLE}")
    if len(document) > MAX_TRAITS:
        raise InvalidArgumentError(
            f"{len(document)} vectors are too many: give at most {MAX_TRAITS}"
        )
    return tuple(_vector(name, fields) for name, fields in document.items())


def encoded_vectors(vectors: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
    """Returns the object that `vectors` is the JSON of: by name, each block's NumPy array."""
    return {
        name: {
            "layers": {
                str(block): base64.b64encode(values.astype("<f4").tobytes()).decode()
                for block, values in blocks.items()
            }
        }
        for name, blocks in vectors.items()
    }


def _vector(name: str, fields: Any) -> RequestVector:
    if not name:
        raise InvalidArgumentError("a vector's name is empty: give one that steering can say")
    check_trait_length(name)
    place = f"vectors.{name}"
    if not isinstance(fields, dict):
        raise InvalidArgumentError(f"{place} must be an object with layers and, if need be, dtype")
    for field in fields:
        if field not in _FIELDS:
            raise InvalidArgumentError(
                f"{place} has {reprlib.repr(field)}: use {', '.join(_FIELDS)}"
            )
    blocks, given = _blocks(place, fields), fields.get("operation")
    operation = (
        parse_vector_operation(f"{place}.operation", name, given) if given is not None else None
    )
    return RequestVector(name, blocks, _digest(blocks), operation)


def _blocks(place: str, fields: Mapping[str, Any]) -> dict[int, Numbers]:
    layers, dtype = fields.get("layers"), fields.get("dtype") or "float32"
    if not isinstance(layers, dict) or not layers:
        raise InvalidArgumentError(
            f"{place}.layers must be an object of base64 texts by 0-based decoder block"
        )
    if len(layers) > MAX_LAYERS:
        raise InvalidArgumentError(
            f"{place} has {len(layers)} layers, which are too many: give at most {MAX_LAYERS}"
        )
    if dtype not in tuple(DTYPES):
        raise InvalidArgumentError(
            f"{place}.dtype is {reprlib.repr(dtype)}: use {' or '.join(DTYPES)}"
        )
    blocks = {
        _block(place, key): _numbers(f"{place}.layers.{key}", text, dtype)
        for key, text in layers.items()
    }
    lengths = {len(numbers) for numbers in blocks.values()}
    if len(lengths) > 1:
        raise InvalidArgumentError(
            f"the layers of {place} have {', '.join(map(str, sorted(lengths)))} elements: give "
            "each as many as the model's hidden size"
        )
    return dict(sorted(blocks.items()))


def _block(place: str, key: str) -> int:
    if not (key.isascii() and key.isdigit() and len(key) <= 4 and str(int(key)) == key):
        raise InvalidArgumentError(
            f'{place}.layers has {reprlib.repr(key)}: give a 0-based decoder block, as "15"'
        )
    return int(key)


def _numbers(place: str, text: Any, dtype: Dtype) -> Numbers:
    size = struct.calcsize(DTYPES[dtype])
    wanted = f"give {dtype} numbers, little-endian, in base64"
    try:
        if not isinstance(text, str):
            raise TypeError
        content = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"{place} is not base64: {wanted}") from None
    if not content or len(content) % size:
        raise InvalidArgumentError(
            f"{place} has {len(content)} bytes, and each number has {size}: {wanted}"
        )
    numbers = _floats(content, dtype)
    # The sum of float32 numbers cannot overflow a float, so that it is finite if they are.
    if not math.isfinite(sum(numbers)):
        index = next(index for index, number in enumerate(numbers) if not math.isfinite(number))
        raise InvalidArgumentError(
            f"{place} has a number that is not finite, at {index}: give finite ones"
        )
    if not any(numbers):
        raise InvalidArgumentError(
            f"{place} is zero, which has no direction: give other numbers, or leave the layer out"
        )
    return numbers


def _floats(content: bytes, dtype: Dtype) -> Numbers:
    """Returns little-endian numbers as float32 ones."""
    if dtype == "float16":
        numbers = array("f")
        for start in range(0, len(content), _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            numbers.extend(struct.unpack(f"<{len(piece) // 2}e", piece))
        return numbers
    # Unpacking a million of them into Python's floats would take a tenth of a second.
    return _little_endian(array("f", content))


def _little_endian(numbers: Numbers) -> Numbers:
    """Returns numbers in that order of bytes, or again in the machine's own if they are in it."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers


def _digest(blocks: Mapping[int, Numbers]) -> str:
    digest = hashlib.sha256()
    for block, numbers in blocks.items():
        digest.update(f"{block} ".encode())
        digest.update(_little_endian(numbers))
    return digest.hexdigest()
