"""Unit vectors of traits, onto which hidden states are projected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triton_models.contract.errors import InvalidArgumentError
from triton_models.vectors.persona_vector import PersonaVector


def direction(vector: PersonaVector, block: int) -> NDArray[np.float32]:
    """Returns a trait's unit vector at a block, float32 [hidden size].

    Raises:
        InvalidArgumentError: The vector lacks the block, or is zero there.
    """
    values = vector.blocks.get(block)
    if values is None:
        raise InvalidArgumentError(
            f"the vector of {vector.trait_name!r} has no layer {block}: it has "
            f"{sorted(vector.blocks)}"
        )
    norm = np.linalg.norm(values.astype(np.float64))
    if not norm:
        raise InvalidArgumentError(
            f"the vector of {vector.trait_name!r} is zero at block {block}: it has no direction "
            "there"
        )
    unit: NDArray[np.float32] = (values / norm).astype(np.float32)
    return unit
