"""The project's binary format: safetensors with a tensor `block.{b}` for each decoder block.

It has the same content as the JSON format, with four bytes per number. The header's metadata has
the strings `format` ("persona-vector"), `version`, `trait_name`, `model_name` and `metadata`, which
is JSON.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.vectors.formats.content import FileContent, StoredTensor, vectors_of
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.json_text import parse_json, parse_object
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

FORMAT_NAME = "persona-vector"
FORMAT_VERSION = "1.0"
TENSOR_PREFIX = "block."

_LENGTH_BYTES = 8
_ALIGNMENT = 8
_MAX_HEADER_BYTES = 2**24
_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a vector file of float32, float16 or bfloat16 tensors; its indices count blocks."""
    header, tensors = _header(content), _tensors(content)
    vectors = vectors_of(tensors, TENSOR_PREFIX, "a vector file's are block.0, block.1, ...")
    metadata = header.get("metadata", "{}").encode("utf-8", "replace")
    return FileContent(
        (convention or Convention.BLOCK).by_block(vectors),
        stem,
        trait_name=header.get("trait_name", ""),
        model_name=header.get("model_name", ""),
        metadata=parse_object(metadata, '"metadata" in its header'),
    )


def read_named_vectors(content: bytes) -> dict[str, dict[int, NDArray[np.float32]]]:
    """Reads several vectors from a file whose tensors are called by their names and blocks.

    `mine.15` is block 15 of the vector `mine`.

    Raises:
        VectorFileError: It is no such file; the message says what it is or has.
    """
    _header(content)
    found: dict[str, list[StoredTensor]] = {}
    for tensor in _tensors(content):
        name, _, _ = tensor.name.rpartition(".")
        if not name:
            raise VectorFileError(
                f"has a tensor {tensor.name[:40]!r}: mine.15 is block 15 of the vector mine"
            )
        found.setdefault(name, []).append(tensor)
    return {name: vectors_of(tensors, f"{name}.", "") for name, tensors in found.items()}


def _tensors(content: bytes) -> list[StoredTensor]:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise VectorFileError(
            "needs the safetensors package to be read: pip install safetensors"
        ) from error
    try:
        # The package checks every offset and shape against the file's size.
        deserialized = deserialize(content)
    except SafetensorError as error:
        raise VectorFileError(f"is not a safetensors file: {error}") from error
    return [
        StoredTensor(
            name,
            tuple(tensor["shape"]),
            f"type {tensor['dtype']}",
            _DTYPES.get(tensor["dtype"]),
            tensor["data"],
        )
        for name, tensor in deserialized
    ]


def write(vector: PersonaVector) -> bytes:
    """Returns a vector file; equal vectors give equal bytes, so that their hashes are equal.

    The header, which is plain JSON, is written here, because the safetensors package orders its
    metadata differently at every call.
    """
    header: dict[str, Any] = {
        "__metadata__": {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "trait_name": vector.trait_name,
            "model_name": vector.model_name,
            "metadata": json.dumps(vector.metadata),
        }
    }
    parts = []
    start = 0
    for block in sorted(vector.blocks):
        part = vector.blocks[block].astype("<f4").tobytes()
        header[f"{TENSOR_PREFIX}{block}"] = {
            "dtype": "F32",
            "shape": [len(vector.blocks[block])],
            "data_offsets": [start, start + len(part)],
        }
        start += len(part)
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + b"".join(parts)


def _header(content: bytes) -> dict[str, str]:
    """Returns the header's metadata, which the package reads only from files on disk."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(len(content), _MAX_HEADER_BYTES):
        raise VectorFileError("is not a safetensors file: its header does not fit into it")
    document = parse_json(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    metadata = document.get("__metadata__", {}) if isinstance(document, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise VectorFileError("is not a safetensors file: its metadata does not map to strings")
    return metadata
