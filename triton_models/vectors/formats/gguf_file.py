"""Control vectors in GGUF, as repeng, llama.cpp and EasySteer write them.

Each vector is a one-dimensional tensor `direction.{k}`. repeng, EasySteer and llama.cpp add it to
the output of block k. But llama.cpp's cvector-generator extracts its `direction.{k}` from the
output of block k - 1: read with the convention "hidden-state" it is added where it was extracted,
with "block" where llama.cpp adds it.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.vectors.formats.content import FileContent
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.gguf_header import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    GgufTensor,
    parse_gguf,
)
from triton_models.vectors.formats.json_text import parse_json
from triton_models.vectors.formats.limits import as_float32, check_hidden_size, checked_index
from triton_models.vectors.formats.safetensors_file import bfloat16_to_float32
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

ARCHITECTURE = "controlvector"
TENSOR_PREFIX = "direction."
DEFAULT_MODEL_HINT = "qwen2"
"""The architecture that this project serves, for vectors that do not name another."""

# The project's own keys, which other tools ignore: with them a round trip loses nothing.
_TRAIT_NAME, _MODEL_NAME, _METADATA = "persona.trait_name", "persona.model_name", "persona.metadata"


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a control vector.

    Args:
        content: The file's bytes.
        stem: The file's name without its suffix, which is the trait if the file names none.
        convention: What the tensors' indices count; blocks if `None`.

    Raises:
        VectorFileError: It is not a control vector.
    """
    convention = convention or Convention.BLOCK
    parsed = parse_gguf(content)
    blocks = {}
    for tensor in parsed.tensors:
        if not tensor.name.startswith(TENSOR_PREFIX):
            raise VectorFileError(
                f"has a tensor {tensor.name[:40]!r}: a control vector's are direction.1, ..., "
                f"and this is of architecture {parsed.values.get('general.architecture')!r:.40}"
            )
        index = checked_index(tensor.name.removeprefix(TENSOR_PREFIX))
        blocks[convention.block_of(index)] = _vector(tensor)
    named, model_name = (
        _text(parsed.values.get(key, ""), key) for key in (_TRAIT_NAME, _MODEL_NAME)
    )
    return FileContent(
        blocks=blocks,
        trait_name=named or stem,
        model_name=model_name,
        metadata=_metadata(parsed.values),
        trait_in_file=bool(named),
    )


def write(vector: PersonaVector) -> bytes:
    """Returns a control vector as repeng writes it, with a few more keys.

    llama.cpp refuses a file with a `direction.0`: leave out block 0 for it.

    Raises:
        VectorFileError: The gguf package is missing.
    """
    try:
        import gguf
    except ImportError as error:
        raise VectorFileError(
            "needs the gguf package to be written: pip install 'persona-triton[server]'"
        ) from error
    hint = vector.metadata.get("model_hint")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        writer.add_string(
            f"{ARCHITECTURE}.model_hint", hint if isinstance(hint, str) else DEFAULT_MODEL_HINT
        )
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vector.blocks))
        writer.add_string(_TRAIT_NAME, vector.trait_name)
        if vector.model_name:
            writer.add_string(_MODEL_NAME, vector.model_name)
        writer.add_string(_METADATA, json.dumps(vector.metadata))
        for block in sorted(vector.blocks):
            writer.add_tensor(f"{TENSOR_PREFIX}{block}", vector.blocks[block])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def _vector(tensor: GgufTensor) -> NDArray[np.float32]:
    if len(tensor.shape) != 1:
        raise VectorFileError(
            f"{tensor.name} has the shape {list(tensor.shape)}: a vector has one dimension"
        )
    if tensor.type not in (FLOAT32, FLOAT16, BFLOAT16):
        raise VectorFileError(
            f"{tensor.name} has the GGML type {tensor.type}: use F32, F16 or BF16"
        )
    check_hidden_size(tensor.shape[0], tensor.name)
    if tensor.type == BFLOAT16:
        return bfloat16_to_float32(tensor.data, tensor.name)
    numbers = np.frombuffer(tensor.data, "<f4" if tensor.type == FLOAT32 else "<f2")
    return as_float32(numbers, tensor.name)


def _metadata(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the project's metadata, or else the keys of another tool."""
    if _METADATA in values:
        metadata = parse_json(_text(values[_METADATA], _METADATA).encode())
        if not isinstance(metadata, dict):
            raise VectorFileError(f"{_METADATA} must be a JSON object")
        return metadata
    prefix = f"{ARCHITECTURE}."
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix)
        and value is not None
        and not (isinstance(value, float) and not math.isfinite(value))
    }


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise VectorFileError(f"{key} must be a string")
    return value
