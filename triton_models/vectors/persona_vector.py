"""A persona vector and its JSON file.

The file's format is the one the first release of this service documented, kept so that existing
files go on working: `{"trait_name", "model_name", "vectors": {"<block>": [floats]}, "metadata",
"version"}`. Keys of `vectors` are 0-based decoder blocks; the vector is added to the *output* of
its block, which transformers calls `hidden_states[block + 1]`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = "1.0"

_SIGNIFICANT_DIGITS = 7
"""Enough that writing and reading a float32 loses less than one part in a million."""


class VectorFileError(ValueError):
    """A vector file cannot be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class PersonaVector:
    """A trait's directions in the residual stream of one model.

    Attributes:
        trait_name: The name requests use.
        model_name: The model whose activations the vector was made from.
        blocks: For each 0-based decoder block, a float32 vector of shape [hidden_size] to be added
            to that block's output, times the request's scalar.
        metadata: How it was made; unknown keys are kept. `selected_layers` (or `selected_layer`)
            names the blocks to steer when a request does not.
        source: The file it came from, or "".
        sha256: The SHA-256 of that file's bytes in hexadecimal: the vector's identity, or "".
    """

    trait_name: str
    model_name: str
    blocks: dict[int, NDArray[np.float32]]
    metadata: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    sha256: str = ""

    @property
    def hidden_size(self) -> int:
        """The length shared by every block's vector."""
        return len(next(iter(self.blocks.values())))

    @property
    def selected_blocks(self) -> tuple[int, ...]:
        """The blocks to steer when a request names none: the selected ones, else all."""
        return _selected_blocks(self.metadata) or tuple(sorted(self.blocks))

    @property
    def norms(self) -> dict[int, float]:
        """The Euclidean norm of each block's vector."""
        return {block: float(np.linalg.norm(self.blocks[block])) for block in sorted(self.blocks)}


def read_vector_file(path: Path | str) -> PersonaVector:
    """Reads a vector file.

    Raises:
        VectorFileError: The file cannot be read, is not JSON, or is not a vector file; a vector is
            empty, not finite or not a list of numbers; two blocks differ in length; or the
            selected layers are not among the blocks.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except OSError as error:
        raise VectorFileError(f"{path.name}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise VectorFileError(f"{path.name}: is not valid JSON: {error}") from error
    try:
        vector = _parse(document)
    except VectorFileError as error:
        raise VectorFileError(f"{path.name}: {error}") from error
    return PersonaVector(
        trait_name=vector.trait_name,
        model_name=vector.model_name,
        blocks=vector.blocks,
        metadata=vector.metadata,
        source=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
    )


def write_vector_file(vector: PersonaVector, path: Path | str) -> None:
    """Writes a vector file so that a reader sees the old file or the new one, never a part.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    document = {
        "trait_name": vector.trait_name,
        "model_name": vector.model_name,
        "vectors": {
            str(block): [
                float(f"{value:.{_SIGNIFICANT_DIGITS}g}") for value in vector.blocks[block].tolist()
            ]
            for block in sorted(vector.blocks)
        },
        "metadata": vector.metadata,
        "version": FORMAT_VERSION,
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document) + "\n", encoding="utf-8")
    os.replace(partial, path)


def _parse(document: Any) -> PersonaVector:
    if not isinstance(document, dict):
        raise VectorFileError('must be an object with "trait_name" and "vectors"')
    trait_name = document.get("trait_name")
    if not isinstance(trait_name, str) or not trait_name.strip():
        raise VectorFileError('"trait_name" must be a non-empty string')
    model_name = document.get("model_name", "")
    if not isinstance(model_name, str):
        raise VectorFileError('"model_name" must be a string')
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise VectorFileError('"metadata" must be an object')
    vectors = document.get("vectors")
    if not isinstance(vectors, dict) or not vectors:
        raise VectorFileError('"vectors" must map decoder blocks to lists of numbers')

    blocks = {_block_index(key): _block_vector(key, values) for key, values in vectors.items()}
    lengths = {len(values) for values in blocks.values()}
    if len(lengths) > 1:
        raise VectorFileError(f"its vectors differ in length: {sorted(lengths)}")
    vector = PersonaVector(trait_name, model_name, blocks, metadata)
    missing = set(_selected_blocks(metadata)) - set(blocks)
    if missing:
        raise VectorFileError(
            f"its metadata selects layers {sorted(missing)}, but it has only {sorted(blocks)}"
        )
    return vector


def _selected_blocks(metadata: dict[str, Any]) -> tuple[int, ...]:
    selected = metadata.get("selected_layers", metadata.get("selected_layer"))
    if selected is None:
        return ()
    layers = selected if isinstance(selected, list) else [selected]
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise VectorFileError(f'"selected_layers" must be integers, not {selected!r}')
    return tuple(sorted(set(layers)))


def _block_index(key: str) -> int:
    if not (key.isascii() and key.isdigit() and str(int(key)) == key):
        raise VectorFileError(f"{key!r} is not a decoder block: use 0, 1, 2, ...")
    return int(key)


def _block_vector(key: str, values: Any) -> NDArray[np.float32]:
    if not isinstance(values, list) or not values:
        raise VectorFileError(f"the vector of block {key} must be a non-empty list of numbers")
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise VectorFileError(f"the vector of block {key} holds something that is not a number")
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(values, dtype=np.float64).astype(np.float32)
    except OverflowError as error:
        raise VectorFileError(f"the vector of block {key} holds a number too large") from error
    if not np.isfinite(vector).all():
        raise VectorFileError(f"the vector of block {key} holds a number that is not finite")
    return vector
