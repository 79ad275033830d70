"""Parses GGUF files, checking every size in them against the file's size.

The gguf package maps the file and trusts its sizes, which is unsafe for untrusted files. The layout
of GGUF 2 and 3 is: magic, version, two counts, key-value pairs, tensor descriptions, and the
tensors' data at the next multiple of the alignment.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from triton_models.vectors.formats.content import StoredTensor
from triton_models.vectors.persona_vector import VectorFileError

MAGIC = b"GGUF"
_FLOATS = {0: "<f4", 1: "<f2", 30: "<u2"}
"""GGML's numbers of plain floats, with numpy's dtypes; other types are quantized or integers."""

_VERSIONS = (2, 3)
_MAX_ENTRIES = 4096
_MAX_STRING = 2**24
_MAX_DIMENSIONS = 4
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 2**16

_SCALARS = {
    kind: struct.Struct(f"<{letter}")
    for kind, letter in zip((*range(8), 10, 11, 12), "BbHhIif?Qqd", strict=True)
}
_STRING, _ARRAY = 8, 9
_UINT32, _UINT64 = _SCALARS[4], _SCALARS[10]


@dataclass(frozen=True, slots=True)
class _Description:
    """The header's description of a tensor; `offset` is relative to the start of all data."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int


def parse_gguf(content: bytes) -> tuple[dict[str, Any], list[StoredTensor]]:
    """Parses a little-endian GGUF file.

    Returns:
        Its values, `None` for arrays, and its tensors, without data if they are not plain floats.

    Raises:
        VectorFileError: It is not a GGUF file, or is truncated.
    """
    reader = _Reader(content)
    if reader.take(len(MAGIC)) != MAGIC:
        raise VectorFileError("is not a GGUF file: it does not begin with GGUF")
    version = reader.number(_UINT32)
    if version not in _VERSIONS:
        raise VectorFileError(f"is GGUF of version {version}: use 2 or 3, little-endian")
    num_tensors = reader.count("tensors")
    num_values = reader.count("values")
    values: dict[str, Any] = {}
    for _ in range(num_values):
        key = reader.string()
        if key in values:
            raise VectorFileError(f"has the key {key[:40]!r} twice")
        values[key] = reader.value(reader.number(_UINT32))
    descriptions = [reader.description() for _ in range(num_tensors)]
    start = reader.aligned(_alignment(values))
    if len({description.name for description in descriptions}) < len(descriptions):
        raise VectorFileError("has two tensors with the same name")
    _check_apart(descriptions)
    return values, [reader.tensor(description, start) for description in descriptions]


def _check_apart(descriptions: list[_Description]) -> None:
    """Refuses tensors that share bytes: together they could be many times the file's size."""
    end = 0
    for description in sorted(descriptions, key=lambda each: (each.offset, each.size)):
        if description.size and description.offset < end:
            raise VectorFileError(f"{description.name[:40]} shares its data with another tensor")
        end = max(end, description.offset + description.size)


def _alignment(values: dict[str, Any]) -> int:
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= _MAX_ALIGNMENT:
        raise VectorFileError(f"has the alignment {str(alignment)[:40]}: use 1 to {_MAX_ALIGNMENT}")
    return alignment


class _Reader:
    """Reads values from bytes in order, never beyond their end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._place = 0

    def take(self, size: int) -> bytes:
        start = self.skip(size)
        return self._content[start : start + size]

    def skip(self, size: int) -> int:
        """Advances by `size` bytes, which must exist, and returns the previous place."""
        place = self._place
        if size > len(self._content) - place:
            raise VectorFileError("is truncated: its header extends beyond its end")
        self._place += size
        return place

    def tensor(self, description: _Description, data_start: int) -> StoredTensor:
        """Returns a tensor, whose data must exist."""
        start = data_start + description.offset
        if start + description.size > len(self._content):
            raise VectorFileError("is truncated: a tensor extends beyond its end")
        data = memoryview(self._content)[start : start + description.size]
        kind = description.type
        type_name, dtype = f"GGML type {kind}", _FLOATS.get(kind)
        return StoredTensor(description.name, description.shape, type_name, dtype, data)

    def number(self, layout: struct.Struct) -> Any:
        (value,) = layout.unpack(self.take(layout.size))
        return value

    def count(self, what: str) -> int:
        count: int = self.number(_UINT64)
        if count > _MAX_ENTRIES:
            raise VectorFileError(
                f"claims {count} {what}: the maximum in a vector file is {_MAX_ENTRIES}"
            )
        return count

    def string(self) -> str:
        length: int = self.number(_UINT64)
        if length > _MAX_STRING:
            raise VectorFileError(f"has a string of {length} bytes, more than {_MAX_STRING}")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise VectorFileError(f"has a string that is not UTF-8: {error.reason}") from error

    def value(self, kind: int) -> Any:
        """Returns a value, `None` for an array, which no control vector needs."""
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._skip_array()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        raise VectorFileError(f"has a value of the unknown type {kind}")

    def _skip_array(self) -> None:
        kind: int = self.number(_UINT32)
        count: int = self.number(_UINT64)
        if kind in _SCALARS:
            self.skip(count * _SCALARS[kind].size)
        elif kind == _STRING:
            # Each takes at least eight bytes, so the file's size bounds this loop.
            for _ in range(count):
                self.skip(self.number(_UINT64))
        else:
            raise VectorFileError(f"has an array of the type {kind}, which no control vector needs")

    def description(self) -> _Description:
        """Returns a tensor's description."""
        name = self.string()
        num_dimensions: int = self.number(_UINT32)
        if num_dimensions > _MAX_DIMENSIONS:
            raise VectorFileError(f"{name[:40]} has {num_dimensions} dimensions")
        shape = tuple(self.number(_UINT64) for _ in range(num_dimensions))
        kind: int = self.number(_UINT32)
        offset: int = self.number(_UINT64)
        size = math.prod(shape) * (np.dtype(_FLOATS[kind]).itemsize if kind in _FLOATS else 0)
        return _Description(name, shape, kind, offset, size)

    def aligned(self, alignment: int) -> int:
        return self._place + -self._place % alignment
