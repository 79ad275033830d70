"""The persona vectors that a loaded model can be steered with."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triton_models.errors import UnknownTraitError
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError, read_vector_file

logger = logging.getLogger(__name__)

ANALYSIS_SUFFIX = "_extended.json"
"""Files of this name beside a vector file hold the analysis of a vector, not a vector."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A vector file that cannot be used.

    Attributes:
        source: The file's path within the folder of vectors.
        reason: What is wrong with it.
    """

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class VectorRegistry:
    """Every usable vector of a folder, and why the others are not.

    Attributes:
        vectors: The usable vectors by trait.
        warnings: By trait, what a user should know about its vector.
        problems: The files that cannot be used.
    """

    vectors: Mapping[str, PersonaVector]
    warnings: Mapping[str, tuple[str, ...]]
    problems: tuple[Problem, ...]

    def get(self, trait: str) -> PersonaVector:
        """Returns a trait's vector.

        Raises:
            UnknownTraitError: There is none of this name; the message names those there are.
        """
        vector = self.vectors.get(trait)
        if vector is None:
            raise UnknownTraitError(f"unknown trait {trait!r}: {self._what_there_is()}")
        return vector

    def _what_there_is(self) -> str:
        if self.vectors:
            return f"the traits are {', '.join(sorted(self.vectors))}"
        if self.problems:
            return (
                f"there are no traits, since none of the {len(self.problems)} vector files can be "
                f"used; the first: {self.problems[0].reason}"
            )
        return "there are no traits, since the folder of vectors is missing or empty"


def scan_vectors(
    folder: Path, *, model_name: str, hidden_size: int, num_layers: int
) -> VectorRegistry:
    """Reads every vector file below a folder and keeps those that fit the model.

    Args:
        folder: Where to look; one that is missing is empty.
        model_name: The loaded model's name; vectors made from another are taken with a warning.
        hidden_size: The width of the model's residual stream.
        num_layers: How many decoder blocks the model has.
    """
    vectors: dict[str, PersonaVector] = {}
    warnings: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*.json")):
        if path.name.endswith(ANALYSIS_SUFFIX):
            continue
        source = path.relative_to(folder).as_posix()
        try:
            vector = dataclasses.replace(read_vector_file(path), source=source)
            _check_fit(vector, hidden_size, num_layers)
            if (first := vectors.get(vector.trait_name)) is not None:
                raise VectorFileError(
                    f"the trait {vector.trait_name!r} already comes from {first.source}"
                )
        except VectorFileError as error:
            problems.append(Problem(source, str(error)))
            logger.warning("vector file %s is not used: %s", source, error)
            continue
        vectors[vector.trait_name] = vector
        warnings[vector.trait_name] = _warnings(vector, model_name)
    return VectorRegistry(vectors, warnings, tuple(problems))


def _check_fit(vector: PersonaVector, hidden_size: int, num_layers: int) -> None:
    if vector.hidden_size != hidden_size:
        raise VectorFileError(
            f"its vectors have {vector.hidden_size} elements, but the model's hidden size is "
            f"{hidden_size}: it was made for another model ({vector.model_name or 'unnamed'})"
        )
    outside = [block for block in sorted(vector.blocks) if block >= num_layers]
    if outside:
        raise VectorFileError(
            f"it has vectors for blocks {outside}, but the model's are 0 to {num_layers - 1}"
        )


def _warnings(vector: PersonaVector, model_name: str) -> tuple[str, ...]:
    made_for = vector.model_name
    if made_for and Path(made_for).name != Path(model_name).name:
        return (f"made from {made_for}, used on {model_name}: check that it steers as it should",)
    return ()
