"""How two persona vectors differ, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triton_models.vectors.persona_vector import PersonaVector, VectorFileError


@dataclass(frozen=True, slots=True)
class BlockDifference:
    """How two vectors of one block differ.

    Attributes:
        cosine: The cosine of the angle between them; `None` if one is zero.
        norm_ratio: The second's norm over the first's; `None` if the first is zero.
    """

    cosine: float | None
    norm_ratio: float | None
    equal: bool


@dataclass(frozen=True, slots=True)
class VectorDifference:
    """How two persona vectors differ.

    Attributes:
        blocks: The difference at each block that both have.
    """

    blocks: dict[int, BlockDifference]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]

    @property
    def equal(self) -> bool:
        """Whether both have the same blocks with equal elements."""
        same = all(block.equal for block in self.blocks.values())
        return same and not self.only_first and not self.only_second


def difference(first: PersonaVector, second: PersonaVector) -> VectorDifference:
    """Compares the elements of two persona vectors, but not their names and metadata.

    Raises:
        VectorFileError: Their hidden sizes differ.
    """
    if first.hidden_size != second.hidden_size:
        raise VectorFileError(
            f"vectors with {first.hidden_size} and {second.hidden_size} elements belong to "
            "different models and cannot be compared"
        )
    one, other = set(first.blocks), set(second.blocks)
    return VectorDifference(
        {block: _block_difference(first, second, block) for block in sorted(one & other)},
        tuple(sorted(one - other)),
        tuple(sorted(other - one)),
    )


def _block_difference(first: PersonaVector, second: PersonaVector, block: int) -> BlockDifference:
    one = first.blocks[block].astype(np.float64)
    other = second.blocks[block].astype(np.float64)
    one_norm, other_norm = float(np.linalg.norm(one)), float(np.linalg.norm(other))
    return BlockDifference(
        cosine=float(one @ other) / (one_norm * other_norm) if one_norm and other_norm else None,
        norm_ratio=other_norm / one_norm if one_norm else None,
        equal=bool((one == other).all()),
    )
