"""A control for an evaluation: a vector that means nothing, and is as long as the one at hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from triton_models.vectors.persona_vector import PersonaVector


def random_vector(vector: PersonaVector, seed: int) -> PersonaVector:
    """Returns random directions with a vector's norms at each of its blocks."""
    random = np.random.default_rng(seed)
    blocks = {}
    for block, norm in vector.norms.items():
        direction = random.normal(size=vector.hidden_size)
        blocks[block] = (norm / np.linalg.norm(direction) * direction).astype(np.float32)
    return dataclasses.replace(vector, blocks=blocks, metadata={})
