"""Limits of vector files, far above any real one, and the checks that all formats share.

Files are untrusted: every size or count in one is checked against these limits, or against the size
of the file, before memory is allocated for it.
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
    operation_of,
    recommended_range_of,
    selected_blocks_of,
)

MAX_FILE_BYTES = 512 * 2**20
MAX_TEXT_BYTES = 128 * 2**20
"""Numbers parsed from text take several times as much memory as the text."""
MAX_VALUES = 100_000
"""Of JSON, other than numbers: a list for each block, and what metadata and analyses say."""
MAX_STRING_CHARS = 2**23
"""Of JSON; the metadata, written with escapes inside of escapes."""
MAX_BLOCKS = 1024
MAX_HIDDEN_SIZE = 2**17
MAX_NAME_LENGTH = 256
MAX_METADATA_BYTES = 2**20
"""As JSON; the list of traits contains all of it."""


def checked_index(text: str) -> int:
    """Returns the index that a key in a file spells.

    Raises:
        VectorFileError: It is not a plausible index in canonical form: `03` beside `3` would name
            one block twice.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and str(int(text)) == text):
        raise VectorFileError(f"{text[:40]!r} is not a decoder block: use 0, 1, 2, ...")
    if (index := int(text)) > MAX_BLOCKS:
        raise VectorFileError(
            f"{index} is not a decoder block: no model has more than {MAX_BLOCKS}"
        )
    return index


def check_hidden_size(length: int, what: str) -> None:
    """Checks the length of a vector before its elements are read.

    Raises:
        VectorFileError: It is not a plausible hidden size.
    """
    if not 1 <= length <= MAX_HIDDEN_SIZE:
        raise VectorFileError(
            f"{what} has {length} elements: a hidden size is 1 to {MAX_HIDDEN_SIZE}"
        )


def as_float32(values: NDArray[Any], what: str) -> NDArray[np.float32]:
    """Returns a float32 copy of numbers; unsigned integers are the bits of bfloat16.

    Raises:
        VectorFileError: An element is not finite as a float32.
    """
    if values.dtype.kind == "u":  # numpy lacks bfloat16, the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
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
    """Returns a persona vector of finite float32 vectors, after the checks that all formats share.

    Raises:
        VectorFileError: It has too much metadata, no blocks, vectors of different lengths, an
            implausible block, a name that is not text or too long, a selected layer that is
            missing, or an invalid recommended range or operation.
    """
    _check_metadata(metadata)
    _check_name("trait_name", trait_name)
    _check_name("model_name", model_name)
    if not trait_name.strip():
        raise VectorFileError('"trait_name" must be a non-empty string')
    if not blocks:
        raise VectorFileError("it holds no vectors")
    if max(blocks) >= MAX_BLOCKS:
        raise VectorFileError(f"block {max(blocks)} is too large: the maximum is {MAX_BLOCKS - 1}")
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
    operation_of(trait_name, metadata)
    return PersonaVector(
        trait_name, model_name, {block: blocks[block] for block in sorted(blocks)}, metadata
    )


def _check_metadata(metadata: dict[str, Any]) -> None:
    length = 0
    try:
        # Part by part lets other threads run, and ends where it is too much.
        for part in json.JSONEncoder(default=str).iterencode(metadata):
            length += len(part)
            if length > MAX_METADATA_BYTES:
                raise VectorFileError(
                    f"its metadata has more than the maximum of {MAX_METADATA_BYTES} bytes as JSON"
                )
    except RecursionError as error:
        raise VectorFileError("its metadata is nested too deeply") from error


def _check_name(key: str, name: str) -> None:
    if len(name) > MAX_NAME_LENGTH:
        raise VectorFileError(f'"{key}" is longer than {MAX_NAME_LENGTH} characters')
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise VectorFileError(f'"{key}" is not text: {error.reason}') from error
