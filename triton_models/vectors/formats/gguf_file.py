"""Control vectors in GGUF, as repeng, llama.cpp and EasySteer write them.

Each vector is a one-dimensional tensor `direction.{k}`. repeng, EasySteer and llama.cpp add it to
the output of block k. But llama.cpp's cvector-generator extracts its `direction.{k}` from the
output of block k - 1: read with the convention "hidden-state" it is added where it was extracted,
with "block" where llama.cpp adds it.

Files of GLP (https://github.com/msuiche/weightless/blob/main/spec/GLP.md), which ds4 reads and
writes, are the same but for keys `glp.*` that say what to do with a vector: `project` removes it,
which is `ablate` here. What such a key asks for and cannot be done is refused, never added.
"""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

from triton_models.contract.steering import Operation
from triton_models.vectors.formats.content import DEFAULT_ARCHITECTURE, FileContent, vectors_of
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.gguf_header import parse_gguf
from triton_models.vectors.formats.json_text import parse_object
from triton_models.vectors.persona_vector import OPERATION, PersonaVector, VectorFileError

ARCHITECTURE = "controlvector"
TENSOR_PREFIX = "direction."

# The project's own keys, which other tools ignore: with them a round trip loses nothing.
_TRAIT_NAME, _MODEL_NAME, _METADATA = "persona.trait_name", "persona.model_name", "persona.metadata"

_GLP = "glp."
_MODE, _VERSION, _HOOK = "glp.mode", "glp.spec_version", "glp.hook_point"
_OPERATIONS = {"project": "ablate", "add": None}
_SPEC_VERSION = 1
_POST_LAYER = "residual_stream_post_layer"
_BASE_MODEL = "general.base_model.0."
_UNIT_ERROR = 1e-4


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a control vector; its indices count blocks."""
    values, tensors = parse_gguf(content)
    _check_glp(values)
    expected = (
        "a control vector's are direction.1, ..., and this is of architecture "
        f"{values.get('general.architecture')!r:.40}"
    )
    vectors = vectors_of(tensors, TENSOR_PREFIX, expected)
    return FileContent(
        (convention or Convention.BLOCK).by_block(vectors),
        stem,
        trait_name=_text(values, _TRAIT_NAME),
        model_name=_text(values, _MODEL_NAME) or _base_model(values),
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
        raise VectorFileError("needs the gguf package to be written: pip install gguf") from error
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
        if vector.operation is not None:
            # Readers of GLP refuse a mode that they do not know; others would add the vector.
            writer.add_string(_MODE, _mode(vector, vector.operation))
            writer.add_uint32(_VERSION, _SPEC_VERSION)
            writer.add_string(_HOOK, _POST_LAYER)
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
    metadata = _with_prefix(values, f"{ARCHITECTURE}.")
    if glp := _with_prefix(values, _GLP):
        metadata["glp"] = glp
    if operation := _OPERATIONS[values.get(_MODE, "add")]:
        metadata[OPERATION] = operation
    return metadata


def _with_prefix(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Returns what can be kept of the keys that begin with a prefix, by the rest of each."""
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix)
        and value is not None
        and not (isinstance(value, float) and not math.isfinite(value))
    }


def _check_glp(values: dict[str, Any]) -> None:
    """Refuses what GLP has its readers refuse; with the project's own metadata that counts."""
    if _METADATA in values:
        return
    mode, version, hook = values.get(_MODE, "add"), values.get(_VERSION), values.get(_HOOK)
    if mode not in tuple(_OPERATIONS):
        raise VectorFileError(f"has {_MODE} = {mode!r:.40}: {' and '.join(_OPERATIONS)} are known")
    if version not in (None, _SPEC_VERSION):
        raise VectorFileError(
            f"has {_VERSION} = {version!r:.40}, which may have several directions at a layer: one "
            f"of version {_SPEC_VERSION} can be read"
        )
    if hook not in (None, _POST_LAYER):
        raise VectorFileError(
            f"has {_HOOK} = {hook!r:.40}: it was made for another place than the output of decoder "
            f"blocks, {_POST_LAYER}"
        )


def _mode(vector: PersonaVector, operation: Operation) -> str:
    are_units = all(abs(norm - 1.0) < _UNIT_ERROR for norm in vector.norms.values())
    return "project" if operation.kind == "ablate" and are_units else f"persona.{operation.kind}"


def _base_model(values: dict[str, Any]) -> str:
    named = (_text(values, f"{_BASE_MODEL}{key}") for key in ("organization", "name"))
    return "/".join(name for name in named if name)


def _text(values: dict[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise VectorFileError(f"{key} must be a string")
    return value
