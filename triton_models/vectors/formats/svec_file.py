"""IBM activation-steering's `.svec`: JSON, with a direction for each layer.

Index k of `directions` is added to the *input* of decoder block k, which is the output of block
k - 1, although that project extracts the direction from the output of block k. A file has the same
effect here as there, so its indices count hidden states; with the convention "block" each direction
is added where it was extracted.
"""

from __future__ import annotations

import json
from typing import Any

from triton_models.vectors.formats.content import DEFAULT_ARCHITECTURE, FileContent
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.json_text import parse_json, parse_vectors, vector_lists
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError


def read(content: bytes, stem: str, convention: Convention | None) -> FileContent:
    """Reads a `.svec` file; its name is the trait, and its indices count hidden states."""
    document = parse_json(content)
    directions = document.get("directions") if isinstance(document, dict) else None
    if not isinstance(directions, dict) or not directions:
        raise VectorFileError('"directions" must map layers to lists of numbers')
    metadata: dict[str, Any] = {
        key: document[key] for key in ("model_type", "explained_variances") if key in document
    }
    blocks = (convention or Convention.HIDDEN_STATE).by_block(parse_vectors(directions))
    return FileContent(blocks, stem, metadata=metadata)


def write(vector: PersonaVector) -> bytes:
    """Returns a `.svec` file that steers the same blocks; names and most metadata are lost."""
    document = {
        "model_type": vector.metadata.get("model_type", DEFAULT_ARCHITECTURE),
        "directions": vector_lists(vector.blocks, Convention.HIDDEN_STATE.index_of),
        "explained_variances": vector.metadata.get("explained_variances", {}),
    }
    return json.dumps(document).encode()
