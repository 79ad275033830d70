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
from triton_models.vectors.formats.json_text import parse_json, parse_vectors, vector_lists
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

FORMAT_VERSION = "1.0"
EXTENDED_SUFFIX = "_extended"


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a vector file, or the analysis beside one; its indices can only count blocks."""
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
    return _content(document, stem, vectors, trait_name)


def write(vector: PersonaVector) -> bytes:
    """Returns a vector file, from which every float32 is read back bit for bit."""
    document = {
        "trait_name": vector.trait_name,
        "model_name": vector.model_name,
        "vectors": vector_lists(vector.blocks),
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
    trait_name = named if isinstance(named, str) and named.strip() else ""
    return _content(document, stem.removesuffix(EXTENDED_SUFFIX), vectors, trait_name)


def _content(
    document: dict[str, Any], file_trait: str, vectors: dict[str, Any], trait_name: str
) -> FileContent:
    blocks = parse_vectors(vectors)
    model_name = document.get("model_name", "")
    if not isinstance(model_name, str):
        raise VectorFileError('"model_name" must be a string')
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise VectorFileError('"metadata" must be an object')
    return FileContent(blocks, file_trait, trait_name, model_name, metadata)
