"""A folder of vector files, and what of it is in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from triton_models.vectors.registry import ModelFit, VectorRegistry
from triton_models.vectors.vector_folder import VectorFolder

FIT = ModelFit("m", 2, 4)


def document(trait: str = "sarcasm", value: float = 1.0, **metadata: Any) -> str:
    vectors = {"1": [value, 2.0]}
    return json.dumps({"trait_name": trait, "vectors": vectors, "metadata": metadata})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def value_of(registry: VectorRegistry, trait: str = "sarcasm") -> float:
    return float(registry.get(trait).blocks[1][0])


def settled(folder: VectorFolder) -> VectorRegistry:
    """Looks twice, as it takes for a change to count."""
    folder.refresh()
    return folder.refresh()
