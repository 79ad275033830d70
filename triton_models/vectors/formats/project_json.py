"""The project's JSON format, readable by people and suitable for small models.

`{"trait_name", "model_name", "vectors": {"<block>": [floats]}, "metadata", "version"}`, unchanged
since the first release. `{trait}_extended.json` beside such a file holds the analysis of a vector:
it can be imported, but a server does not load it.
"""

from __future__ import annotations

import json
from typing import Any

from triton_models.vectors.formats.content import FileContent
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.json_text import exact_numbers, parse_json, parse_vectors
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

FORMAT_VERSION = "1.0"
EXTENDED_SUFFIX = "_extended"


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a vector file, or the analysis beside one.

    Args:
        content: The file's bytes.
        stem: The file's name without its suffix.
        convention: This format counts blocks; another convention is refused.

    Raises:
        VectorFileError: It is neither.
    """
    if convention not in (None, Convention.BLOCK):
        raise VectorFileError(
            f'counts decoder blocks: the convention is "block", not "{convention.value}"'
        )
    document = parse_json(content)
    if isinstance(document, dict) and "vectors" not in document:
        if "persona_vectors" in document:
            return _read_extended(document, stem)
        if "directions" in document:
            raise VectorFileError(
                "looks like an activation-steering file: give it the suffix .svec"
            )
    if not isinstance(document, dict):
        raise VectorFileError('must be an object with "trait_name" and "vectors"')
    trait_name = document.get("trait_name")
    if not isinstance(trait_name, str) or not trait_name.strip():
        raise VectorFileError('"trait_name" must be a non-empty string')
    vectors = document.get("vectors")
    if not isinstance(vectors, dict) or not vectors:
        raise VectorFileError('"vectors" must map decoder blocks to lists of numbers')
    return FileContent(
        blocks=parse_vectors(vectors),
        trait_name=trait_name,
        model_name=_model_name(document),
        metadata=_metadata(document),
        trait_in_file=True,
    )


def write(vector: PersonaVector) -> bytes:
    """Returns a vector file, from which every float32 is read back bit for bit."""
    document = {
        "trait_name": vector.trait_name,
        "model_name": vector.model_name,
        "vectors": {
            str(block): exact_numbers(vector.blocks[block]) for block in sorted(vector.blocks)
        },
        "metadata": vector.metadata,
        "version": FORMAT_VERSION,
    }
    return (json.dumps(document) + "\n").encode()


def _read_extended(document: dict[str, Any], stem: str) -> FileContent:
    entries = document["persona_vectors"]
    if not isinstance(entries, dict):
        raise VectorFileError('"persona_vectors" must map decoder blocks to objects')
    vectors = {}
    for key, entry in entries.items():
        if not isinstance(entry, dict) or "vector" not in entry:
            raise VectorFileError(f'"persona_vectors" of block {key[:40]} has no "vector"')
        vectors[key] = entry["vector"]
    named = document.get("trait_name")
    trait_in_file = isinstance(named, str) and bool(named.strip())
    trait_name = str(named) if trait_in_file else stem.removesuffix(EXTENDED_SUFFIX)
    return FileContent(
        blocks=parse_vectors(vectors),
        trait_name=trait_name,
        model_name=_model_name(document),
        metadata=_metadata(document),
        trait_in_file=trait_in_file,
    )


def _model_name(document: dict[str, Any]) -> str:
    model_name = document.get("model_name", "")
    if not isinstance(model_name, str):
        raise VectorFileError('"model_name" must be a string')
    return model_name


def _metadata(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise VectorFileError('"metadata" must be an object')
    return metadata
