"""What turning one trait does to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persona_research.evaluation.estimates import Estimate, mean
from triton_models.vectors.persona_vector import PersonaVector

Scores = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Movement:
    """How far a scalar of one trait moves the score of another.

    Attributes:
        change: Mean change of the score from the unsteered answers to the same questions,
            in the judge's unit.
        answers: How many pairs of answers both had a score.
    """

    steered: str
    judged: str
    scalar: float
    change: Estimate
    answers: int


@dataclass(frozen=True, slots=True)
class Cosines:
    """Cosines between vectors at one block: `values[i][j]` is that of the traits i and j."""

    block: int
    traits: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


def movement(
    steered: str,
    judged: str,
    scalar: float,
    unsteered_scores: Scores,
    steered_scores: Scores,
    seed: int = 0,
) -> Movement:
    """Compares scores of one trait of answers to the same questions, without and with steering."""
    changes = [
        after - before
        for before, after in zip(unsteered_scores, steered_scores, strict=True)
        if before is not None and after is not None
    ]
    return Movement(steered, judged, scalar, mean(changes, seed), len(changes))


def cosines(vectors: Mapping[str, PersonaVector], blocks: Sequence[int]) -> list[Cosines]:
    """The cosines between all pairs of vectors at each of the blocks; 0 for a vector of zeros."""
    tables = []
    for block in blocks:
        traits = tuple(trait for trait, vector in vectors.items() if block in vector.blocks)
        values = cosine_matrix([vectors[trait].blocks[block] for trait in traits])
        tables.append(Cosines(block, traits, tuple(map(tuple, values.tolist()))))
    return tables


def cosine_matrix(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The cosine of each vector with each, [vectors, vectors]; 0 for a vector of zeros."""
    rows = np.stack(vectors).astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units = rows / np.where(norms, norms, 1)
    cosines: NDArray[np.float64] = units @ units.T
    return cosines
