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

from triton_models.vectors.formats.content import DEFAULT_ARCHITECTURE, FileContent, vectors_of
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.gguf_header import parse_gguf
from triton_models.vectors.formats.json_text import parse_object
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

ARCHITECTURE = "controlvector"
TENSOR_PREFIX = "direction."

# The project's own keys, which other tools ignore: with them a round trip loses nothing.
_TRAIT_NAME, _MODEL_NAME, _METADATA = "persona.trait_name", "persona.model_name", "persona.metadata"


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a control vector; its indices count blocks."""
    values, tensors = parse_gguf(content)
    expected = (
        "a control vector's are direction.1, ..., and this is of architecture "
        f"{values.get('general.architecture')!r:.40}"
    )
    vectors = vectors_of(tensors, TENSOR_PREFIX, expected)
    return FileContent(
        (convention or Convention.BLOCK).by_block(vectors),
        stem,
        trait_name=_text(values, _TRAIT_NAME),
        model_name=_text(values, _MODEL_NAME),
        metadata=_metadata(values),
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
    given = vector.metadata.get("model_hint")
    hint = given if isinstance(given, str) else DEFAULT_ARCHITECTURE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = gguf.GGUFWriter(path, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", hint)
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


def _metadata(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the project's metadata, or else the keys of another tool."""
    if _METADATA in values:
        return parse_object(_text(values, _METADATA).encode(), _METADATA)
    prefix = f"{ARCHITECTURE}."
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix)
        and value is not None
        and not (isinstance(value, float) and not math.isfinite(value))
    }


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise VectorFileError(f"{key} must be a string")
    return value
