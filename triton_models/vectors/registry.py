"""The persona vectors that a loaded model can be steered with: one unchanging snapshot of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from triton_models.errors import TraitNotFoundError
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError

MAX_METADATA_BYTES = 2**18
MAX_METADATA_DEPTH = 32

ProblemState = Literal["not used", "kept the version loaded before"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A vector file that cannot be used as it is.

    Attributes:
        source: The file's path within the folder of vectors.
        reason: What is wrong with it.
        state: What that means: whether the vector of the file's last good content is still in use.
        trait: The trait that the file would give, where that much is known.
        sha256: The SHA-256 of a file that is sound, but whose trait another one gives already.
    """

    source: str
    reason: str
    state: ProblemState = "not used"
    trait: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class VectorRegistry:
    """Every usable vector of a folder, and why the others are not.

    Attributes:
        vectors: The usable vectors by trait.
        warnings: By trait, what a user should know about its vector.
        problems: The files that cannot be used.
        kept: The traits whose file has become unusable since its vector was loaded.
    """

    vectors: Mapping[str, PersonaVector]
    warnings: Mapping[str, tuple[str, ...]]
    problems: tuple[Problem, ...]
    kept: frozenset[str] = frozenset()

    def get(self, trait: str) -> PersonaVector:
        """Returns a trait's vector.

        Raises:
            TraitNotFoundError: There is none of this name; the message names those there are.
        """
        vector = self.vectors.get(trait)
        if vector is None:
            raise TraitNotFoundError(f"unknown trait {trait!r}: {self._what_there_is()}")
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


@dataclass(frozen=True, slots=True)
class ModelFit:
    """Which vectors fit a model.

    Attributes:
        model_name: The model's name; vectors made from another are taken with a warning.
        hidden_size: The width of its residual stream.
        num_layers: How many decoder blocks it has.
    """

    model_name: str
    hidden_size: int
    num_layers: int

    def check(self, vector: PersonaVector) -> None:
        """Makes sure that a vector can be added to the model's residual stream, and be described.

        Raises:
            VectorFileError: It has another width, or a block that the model has not; or its
                metadata cannot be shown.
        """
        if vector.hidden_size != self.hidden_size:
            raise VectorFileError(
                f"its vectors have {vector.hidden_size} elements, but the model's hidden size is "
                f"{self.hidden_size}: it was made for another model "
                f"({vector.model_name or 'unnamed'})"
            )
        outside = [block for block in sorted(vector.blocks) if block >= self.num_layers]
        if outside:
            raise VectorFileError(
                f"it has vectors for blocks {outside}, but the model's are 0 to "
                f"{self.num_layers - 1}"
            )
        _check_metadata(vector.metadata)

    def warnings(self, vector: PersonaVector) -> tuple[str, ...]:
        """Returns what a user should know about a vector that fits."""
        made_for = vector.model_name
        if made_for and Path(made_for).name != Path(self.model_name).name:
            return (
                f"made from {made_for}, used on {self.model_name}: check that it steers as it "
                "should",
            )
        return ()


def _check_metadata(metadata: dict[str, Any]) -> None:
    """Makes sure that metadata can be shown: all traits are described in one JSON document.

    Raises:
        VectorFileError: They cannot, and would keep every other trait from being described.
    """
    try:
        size = len(json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise VectorFileError(f"its metadata cannot be shown as JSON: {error}") from error
    if size > MAX_METADATA_BYTES or _depth(metadata) > MAX_METADATA_DEPTH:
        raise VectorFileError(
            f"its metadata have {size} bytes as JSON: they may have {MAX_METADATA_BYTES}, and "
            f"{MAX_METADATA_DEPTH} levels"
        )


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
