"""What is shipped of a vector that `persona vectors make` made: the middle blocks, in doses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triton_models.vectors.editing import only_blocks
from triton_models.vectors.persona_vector import PersonaVector
from triton_models.vectors.unit_scale import UNIT_SCALE, raw_scalar


def shipped(vector: PersonaVector, blocks: Sequence[int]) -> PersonaVector:
    """Returns some blocks of a vector, scaled so that a scalar of 1 does as much as asking.

    Raises:
        InvalidArgumentError: No scalar of the vector did as much as asking for the trait.
        VectorFileError: The vector lacks a block.
    """
    factor = raw_scalar(vector, vector.selected_blocks, 1.0)
    kept = only_blocks(vector, blocks)
    return dataclasses.replace(
        kept,
        blocks={block: np.float32(factor) * kept.blocks[block] for block in kept.blocks},
        metadata=_scaled_metadata(kept.metadata, kept.norms, factor),
    )


def _scaled_metadata(
    metadata: dict[str, Any], norms: dict[int, float], factor: float
) -> dict[str, Any]:
    """Returns what the metadata says of a vector once its numbers are multiplied by a factor."""

    def scalar(value: float) -> float:
        return float(f"{value / factor:.3g}")

    evaluation = metadata["evaluation"]
    return {
        **metadata,
        "scale": metadata["scale"] * factor,
        "norms": {str(block): round(norm * factor, 4) for block, norm in norms.items()},
        "recommended_range": [scalar(end) for end in metadata["recommended_range"]],
        UNIT_SCALE: _mapped(metadata[UNIT_SCALE], "scalar", scalar),
        "evaluation": {
            **evaluation,
            "doses": _mapped(evaluation["doses"], "scalar", scalar),
            "candidates": [
                {**each, "range": [scalar(end) for end in each["range"]]}
                for each in evaluation["candidates"]
            ],
        },
    }


def _mapped(document: Any, name: str, change: Callable[[float], float]) -> Any:
    """Returns a JSON document with every field of a name changed, however deep it is."""
    if isinstance(document, list):
        return [_mapped(each, name, change) for each in document]
    if not isinstance(document, dict):
        return document
    return {
        key: change(value) if key == name else _mapped(value, name, change)
        for key, value in document.items()
    }
