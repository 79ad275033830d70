"""What a vector file may hold at most, far above any real one, and how its parts are checked.

A file comes from anywhere. Every number in it that says how large or how many is held against
these limits, or against the size of the file, before anything is allocated for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.vectors.persona_vector import (
    PersonaVector,
    VectorFileError,
    recommended_range_of,
    selected_blocks_of,
)

MAX_FILE_BYTES = 512 * 2**20
MAX_TEXT_BYTES = 128 * 2**20
"""Numbers parsed from text take several times the text's size in memory."""
MAX_BLOCKS = 1024
MAX_HIDDEN_SIZE = 2**17
MAX_NAME_LENGTH = 256
MAX_METADATA_BYTES = 2**20
"""As JSON; whoever asks for the traits is told all of it."""


def checked_index(text: str) -> int:
    """The index that a file's key spells.

    Raises:
        VectorFileError: The key does not spell an index of a plausible block in the plain way;
            `03` beside `3` would name one block twice.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and str(int(text)) == text):
        raise VectorFileError(f"{text[:40]!r} is not a decoder block: use 0, 1, 2, ...")
    if (index := int(text)) > MAX_BLOCKS:
        raise VectorFileError(
            f"{index} is not a decoder block: no model has more than {MAX_BLOCKS}"
        )
    return index


def check_hidden_size(length: int, what: str) -> None:
    """Checks the length of a vector before its numbers are touched.

    Raises:
        VectorFileError: It is none that a hidden size can have.
    """
    if not 1 <= length <= MAX_HIDDEN_SIZE:
        raise VectorFileError(
            f"{what} has {length} elements: a hidden size is 1 to {MAX_HIDDEN_SIZE}"
        )


def as_float32(values: NDArray[Any], what: str) -> NDArray[np.float32]:
    """A vector's numbers as float32 of their own memory.

    Raises:
        VectorFileError: A number is not finite, or not any more as a float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        vector = np.array(values, dtype=np.float32)
    if not np.isfinite(vector).all():
        raise VectorFileError(f"{what} holds a number that is not finite as a float32")
    return vector


def checked_vector(
    trait_name: str,
    model_name: str,
    blocks: Mapping[int, NDArray[np.float32]],
    metadata: dict[str, Any],
) -> PersonaVector:
    """A persona vector of finite float32 vectors, after the checks that every format shares.

    Raises:
        VectorFileError: There are no blocks; their vectors differ in length; a block is beyond any
            model; a name is not text of a sensible length; a selected layer is not there; or the
            recommended range is none.
    """
    _check_name("trait_name", trait_name)
    _check_name("model_name", model_name)
    if not trait_name.strip():
        raise VectorFileError('"trait_name" must be a non-empty string')
    if not blocks:
        raise VectorFileError("it holds no vectors")
    if max(blocks) >= MAX_BLOCKS:
        raise VectorFileError(f"block {max(blocks)} is beyond any model's {MAX_BLOCKS}")
    lengths = {len(values) for values in blocks.values()}
    if len(lengths) > 1:
        raise VectorFileError(f"its vectors differ in length: {sorted(lengths)}")
    check_hidden_size(lengths.pop(), "each vector")
    missing = set(selected_blocks_of(metadata)) - set(blocks)
    if missing:
        raise VectorFileError(
            f"its metadata selects layers {sorted(missing)}, but it has only {sorted(blocks)}"
        )
    recommended_range_of(metadata)
    _check_metadata(metadata)
    return PersonaVector(
        trait_name, model_name, {block: blocks[block] for block in sorted(blocks)}, metadata
    )


def _check_metadata(metadata: dict[str, Any]) -> None:
    try:
        length = len(json.dumps(metadata, default=str))
    except RecursionError as error:
        raise VectorFileError("its metadata is nested too deeply") from error
    if length > MAX_METADATA_BYTES:
        raise VectorFileError(
            f"its metadata has {length} bytes as JSON, more than the {MAX_METADATA_BYTES} it may"
        )


def _check_name(key: str, name: str) -> None:
    if len(name) > MAX_NAME_LENGTH:
        raise VectorFileError(f'"{key}" is longer than {MAX_NAME_LENGTH} characters')
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise VectorFileError(f'"{key}" is not text: {error.reason}') from error
