"""An immutable snapshot of the persona vectors that a model can be steered with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from triton_models.contract.errors import InvalidArgumentError, TraitNotLoadedError
from triton_models.contract.request_vectors import RequestVector
from triton_models.contract.steering_document import vector_operation_json
from triton_models.vectors.calibration import Calibration, ModelIdentity
from triton_models.vectors.calibration_document import calibration_of, without_calibration
from triton_models.vectors.formats.torch_file import ASSUMED_ROWS
from triton_models.vectors.persona_vector import OPERATION, PersonaVector, VectorFileError

MAX_METADATA_BYTES = 2**18
MAX_METADATA_DEPTH = 32

ProblemState = Literal["not used", "kept the version loaded before"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A vector file that cannot be used.

    Attributes:
        reason: What is wrong with it.
        state: Whether the vector of the file's last valid content is still in use.
        trait: The trait of the file, if known.
        sha256: The SHA-256 of a valid file whose trait another file already has.
    """

    source: str
    reason: str
    state: ProblemState = "not used"
    trait: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class VectorRegistry:
    """The usable vectors of a folder, and the problems of the other files.

    Attributes:
        warnings: Warnings about each vector, by trait.
        kept: The traits whose file has become unusable since its vector was loaded.
        model: The model that calibrations must be for; `None` takes those of any.
        residual_norms: The mean norm of the model's residual stream at each block's output, if it
            is known.
    """

    vectors: Mapping[str, PersonaVector]
    warnings: Mapping[str, tuple[str, ...]]
    problems: tuple[Problem, ...]
    kept: frozenset[str] = frozenset()
    model: ModelIdentity | None = None
    residual_norms: Mapping[int, float] = field(default_factory=dict)
    _calibrations: dict[str, Calibration | str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Those that were asked for, so that each is parsed once, or why they cannot be used."""

    def get(self, trait: str) -> PersonaVector:
        """Returns a trait's vector.

        Raises:
            TraitNotLoadedError: The trait is unknown; the message lists the known ones.
        """
        vector = self.vectors.get(trait)
        if vector is None:
            raise TraitNotLoadedError(f"unknown trait {trait!r}: {self._known_traits()}")
        return vector

    def calibration(self, trait: str) -> Calibration:
        """Returns the calibration of a trait's vector.

        Raises:
            TraitNotLoadedError: The trait is unknown.
            InvalidArgumentError: The vector has none, a malformed one, or that of another model.
        """
        vector, found = self.get(trait), self._calibrations.get(trait)
        if found is None:
            try:
                found = calibration_of(vector, self.model)
            except InvalidArgumentError as error:
                found = error.message
            self._calibrations[trait] = found
        if isinstance(found, Calibration):
            return found
        raise InvalidArgumentError(found)

    def with_request_vectors(self, given: Iterable[RequestVector], fit: ModelFit) -> VectorRegistry:
        """Returns the vectors of one request: these, and those that it brings along.

        Raises:
            InvalidArgumentError: One has the name of a trait, or does not fit the model.
        """
        added = {each.name: _checked(each, fit) for each in given}
        if not added:
            return self
        for name in sorted(added.keys() & self.vectors.keys()):
            raise InvalidArgumentError(
                f"vectors.{name} has the name of a trait of this server: give it another one"
            )
        found = replace(self, vectors={**self.vectors, **added})
        found._calibrations.update(self._calibrations)
        for name in added:
            found._calibrations[name] = (
                f"the vector of {name!r} came with the request, without a calibration: give bounds "
                'in the unit "raw"'
            )
        return found

    def _known_traits(self) -> str:
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
    """Checks which vectors fit a model.

    Attributes:
        model_name: The model's name; vectors of another one are accepted with a warning.
        weights_sha256: See `ModelIdentity`.
        residual_norms: See `VectorRegistry`.
    """

    model_name: str
    hidden_size: int
    num_layers: int
    weights_sha256: str = ""
    residual_norms: Mapping[int, float] = field(default_factory=dict)

    @property
    def model(self) -> ModelIdentity:
        """Which model it is, for calibrations."""
        return ModelIdentity(self.model_name, self.weights_sha256)

    def check(self, vector: PersonaVector) -> None:
        """Makes sure that a vector fits the model's residual stream and can be described.

        Raises:
            VectorFileError: It has another width, a block that the model lacks, or rows of blocks
                that were taken for hidden states; or its metadata cannot be shown.
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
                f"it has vectors for blocks {outside}, but the model has blocks 0 to "
                f"{self.num_layers - 1}"
            )
        if vector.metadata.get(ASSUMED_ROWS) == self.num_layers:
            raise VectorFileError(
                f"its .pt file has {self.num_layers} rows, as many as the model has blocks, but "
                f"was read as hidden states, which are {self.num_layers + 1}: give --convention "
                "block (convention=block in a request), or hidden-state if that is what they are"
            )
        _check_metadata(without_calibration(vector.metadata))

    def warnings(self, vector: PersonaVector) -> tuple[str, ...]:
        """Returns warnings about a vector that fits."""
        made_for = vector.model_name
        if made_for and Path(made_for).name != Path(self.model_name).name:
            return (
                f"made from {made_for}, used on {self.model_name}: check that it steers as it "
                "should",
            )
        return ()


def _checked(given: RequestVector, fit: ModelFit) -> PersonaVector:
    blocks = {block: np.array(numbers, np.float32) for block, numbers in given.blocks.items()}
    operation = given.operation
    metadata = {} if operation is None else {OPERATION: vector_operation_json(operation)}
    vector = PersonaVector(given.name, "", blocks, metadata, sha256=given.digest)
    try:
        fit.check(vector)
    except VectorFileError as error:
        raise InvalidArgumentError(f"vectors.{given.name}: {error}") from error
    return vector


def _check_metadata(metadata: dict[str, Any]) -> None:
    """Makes sure that metadata can be part of the one JSON document that describes all traits.

    Raises:
        VectorFileError: It cannot, and would prevent the description of every other trait.
    """
    try:
        size = len(json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise VectorFileError(f"its metadata cannot be encoded as JSON: {error}") from error
    if size > MAX_METADATA_BYTES or _depth(metadata) > MAX_METADATA_DEPTH:
        raise VectorFileError(
            f"its metadata has {size} bytes as JSON: the maximum is {MAX_METADATA_BYTES} bytes and "
            f"{MAX_METADATA_DEPTH} levels"
        )


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
