"""The demo model and its vectors, as plain transformers and numpy see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triton_models.vectors.persona_vector import PersonaVector

TRAITS = (
    "flattery",
    "hallucination",
    "helpfulness",
    "maliciousness",
    "racism",
    "sarcasm",
    "sexism",
)


def deltas_of(vectors: Mapping[str, PersonaVector], traits: Mapping[str, float]) -> dict[int, Any]:
    """Returns for each steered block what the traits' vectors add to its output, [hidden]."""
    deltas: dict[int, Any] = {}
    for trait, scalar in traits.items():
        for block in vectors[trait].selected_blocks:
            delta = scalar * vectors[trait].blocks[block]
            deltas[block] = deltas.get(block, 0) + delta
    return deltas
