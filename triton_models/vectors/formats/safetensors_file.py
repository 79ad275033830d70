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

from triton_models.vectors.formats.content import FileContent
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.json_text import parse_json
from triton_models.vectors.formats.limits import as_float32, check_hidden_size, checked_index
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

FORMAT_NAME = "persona-vector"
FORMAT_VERSION = "1.0"
TENSOR_PREFIX = "block."

_LENGTH_BYTES = 8
_ALIGNMENT = 8
_MAX_HEADER_BYTES = 2**24


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a vector file of float32, float16 or bfloat16 tensors.

    Args:
        content: The file's bytes.
        stem: The file's name without its suffix, which is the trait if the header names none.
        convention: What the tensors' indices count; blocks if `None`.

    Raises:
        VectorFileError: It is not such a file.
    """
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError as error:
        raise VectorFileError(
            "needs the safetensors package to be read: pip install 'persona-triton[server]'"
        ) from error
    header = _header(content)
    try:
        # The package checks every offset and shape against the file's size.
        tensors = deserialize(content)
    except SafetensorError as error:
        raise VectorFileError(f"is not a safetensors file: {error}") from error
    convention = convention or Convention.BLOCK
    blocks = {}
    for name, tensor in tensors:
        if not name.startswith(TENSOR_PREFIX):
            raise VectorFileError(
                f"has a tensor {name[:40]!r}: a vector file's are block.0, block.1, ..."
            )
        index = checked_index(name.removeprefix(TENSOR_PREFIX))
        blocks[convention.block_of(index)] = _vector(name, tensor)
    named = header.get("trait_name", "")
    return FileContent(
        blocks=blocks,
        trait_name=named or stem,
        model_name=header.get("model_name", ""),
        metadata=_metadata(header),
        trait_in_file=bool(named),
    )


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


def _metadata(header: dict[str, str]) -> dict[str, Any]:
    metadata = parse_json(header.get("metadata", "{}").encode("utf-8", "replace"))
    if not isinstance(metadata, dict):
        raise VectorFileError('"metadata" in its header must be a JSON object')
    return metadata


def _vector(name: str, tensor: dict[str, Any]) -> NDArray[np.float32]:
    shape, dtype, data = tensor["shape"], tensor["dtype"], tensor["data"]
    if len(shape) != 1:
        raise VectorFileError(f"{name} has the shape {shape}: a vector has one dimension")
    check_hidden_size(shape[0], name)
    if dtype == "BF16":
        return bfloat16_to_float32(data, name)
    if dtype not in ("F32", "F16"):
        raise VectorFileError(f"{name} has the type {dtype}: use F32, F16 or BF16")
    return as_float32(np.frombuffer(data, "<f4" if dtype == "F32" else "<f2"), name)


def bfloat16_to_float32(data: bytes | memoryview, what: str) -> NDArray[np.float32]:
    """Converts little-endian bfloat16, which numpy lacks, to float32: it is the upper half."""
    bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
    return as_float32(bits.view(np.float32), what)
