"""Edits persona vectors: selects blocks, or keeps only some."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from triton_models.vectors.calibration_document import with_calibrated_blocks
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError, selected_blocks_of

_SELECTION_KEYS = ("selected_layers", "selected_layer")


def with_selected(vector: PersonaVector, blocks: Sequence[int]) -> PersonaVector:
    """Returns the vector with other selected blocks, those steered if a request names none.

    Raises:
        VectorFileError: The vector lacks a block.
    """
    _check_there(vector, blocks)
    metadata = _without_selection(vector.metadata)
    metadata["selected_layers"] = sorted(set(blocks))
    return dataclasses.replace(vector, metadata=metadata, source="", sha256="")


def only_blocks(vector: PersonaVector, blocks: Sequence[int]) -> PersonaVector:
    """Returns the vector with only these blocks; what was selected of them remains selected.

    Their calibration is kept, that of others is not, since it is larger than a small vector.

    Raises:
        VectorFileError: The vector lacks a block.
    """
    _check_there(vector, blocks)
    kept = {block: vector.blocks[block] for block in sorted(set(blocks))}
    metadata = _without_selection(vector.metadata)
    if selected := [block for block in selected_blocks_of(vector.metadata) if block in kept]:
        metadata["selected_layers"] = selected
    metadata = with_calibrated_blocks(metadata, kept)
    return dataclasses.replace(vector, blocks=kept, metadata=metadata, source="", sha256="")


def _without_selection(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key not in _SELECTION_KEYS}


def _check_there(vector: PersonaVector, blocks: Sequence[int]) -> None:
    missing = sorted(set(blocks) - set(vector.blocks))
    if not missing:
        return
    note = vector.metadata.get("import_note")
    because = f"; {note}" if isinstance(note, str) else ""
    raise VectorFileError(
        f"{vector.trait_name} has no blocks {missing}: it has {sorted(vector.blocks)}{because}"
    )
