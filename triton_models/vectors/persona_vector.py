"""A persona vector, the value that every vector file is read into, whatever its format.

Blocks are 0-based decoder blocks; a vector is added to the *output* of its block, which
transformers calls `hidden_states[block + 1]`. Files are read and written by
`triton_models.vectors.formats`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Operation
from triton_models.contract.steering_document import parse_vector_operation

OPERATION = "operation"

_FILE_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class VectorFileError(ValueError):
    """A vector file cannot be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class PersonaVector:
    """A trait's directions in the residual stream of one model.

    Attributes:
        trait_name: The name that requests use.
        model_name: The model from whose activations the vector was extracted.
        blocks: For each 0-based decoder block a float32 vector [hidden_size], which is added to the
            block's output times the request's scalar.
        metadata: How it was made; unknown keys are kept. `selected_layers` (or `selected_layer`)
            are the blocks to steer if a request names none; `recommended_range` is the smallest and
            the largest scalar that it is known to work with; `operation` is what it is meant for,
            if not to be added.
        source: The file it was read from, or `""`.
        sha256: The SHA-256 of that file's bytes in hexadecimal, which identifies the vector, or
            `""`.
    """

    trait_name: str
    model_name: str
    blocks: dict[int, NDArray[np.float32]]
    metadata: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    sha256: str = ""

    @property
    def hidden_size(self) -> int:
        """The length of every block's vector."""
        return len(next(iter(self.blocks.values())))

    @property
    def selected_blocks(self) -> tuple[int, ...]:
        """The blocks to steer if a request names none: the selected ones, else all."""
        return selected_blocks_of(self.metadata) or tuple(sorted(self.blocks))

    @property
    def recommended_range(self) -> tuple[float, float] | None:
        """The smallest and the largest recommended scalar, if known."""
        return recommended_range_of(self.metadata)

    @property
    def operation(self) -> Operation | None:
        """What a request does with it by naming it with a scalar, the strength; `None` adds it."""
        return operation_of(self.trait_name, self.metadata)

    @property
    def residual_norms(self) -> dict[int, float]:
        """The mean norm of the residual stream at each block's output, if the metadata has it.

        Invalid numbers are left out: the vector works without them.
        """
        noted = self.metadata.get("residual_norms")
        if not isinstance(noted, dict):
            return {}
        norms: dict[int, Any] = {block: noted.get(str(block)) for block in sorted(self.blocks)}
        return {
            block: float(norm) for block, norm in norms.items() if _is_finite(norm) and norm > 0
        }

    @property
    def norms(self) -> dict[int, float]:
        """The Euclidean norm of each block's vector."""
        return {block: float(np.linalg.norm(self.blocks[block])) for block in sorted(self.blocks)}


def check_trait_name(name: str) -> str:
    """Returns a trait's name if it is safe as part of a file's name.

    Raises:
        VectorFileError: It is not: a name like `../x` would leave the folder of vectors.
    """
    if _FILE_SAFE_NAME.fullmatch(name) is None:
        raise VectorFileError(
            f"{name!r} cannot name a trait's file: use 1 to 64 of the letters a to z and A to Z, "
            "the digits, and _ . -, beginning with a letter or a digit"
        )
    return name


def recommended_range_of(metadata: dict[str, Any]) -> tuple[float, float] | None:
    """Returns the smallest and the largest scalar that a vector's metadata recommends, if any.

    Raises:
        VectorFileError: The range is not two finite numbers in ascending order.
    """
    given = metadata.get("recommended_range")
    if given is None:
        return None
    if not (isinstance(given, list) and len(given) == 2 and all(map(_is_finite, given))):
        raise VectorFileError(f'"recommended_range" must be two numbers, not {given!r}')
    low, high = map(float, given)
    if low > high:
        raise VectorFileError(f'"recommended_range" must begin with the lower number: {given!r}')
    return low, high


def operation_of(trait: str, metadata: dict[str, Any]) -> Operation | None:
    """Returns the operation that a vector's metadata says it is meant for, if it does.

    Raises:
        VectorFileError: It is no operation: to add the vector instead would be wrong.
    """
    given = metadata.get(OPERATION)
    if given is None:
        return None
    try:
        return parse_vector_operation(OPERATION, trait, given)
    except InvalidArgumentError as error:
        raise VectorFileError(f"its metadata cannot be used: {error.message}") from error


def _is_finite(value: Any) -> bool:
    """Whether a JSON value is a number that a float can represent."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def selected_blocks_of(metadata: dict[str, Any]) -> tuple[int, ...]:
    """Returns the blocks that a vector's metadata selects for steering, sorted; empty if none.

    Raises:
        VectorFileError: The selected blocks are not integers.
    """
    selected = metadata.get("selected_layers", metadata.get("selected_layer"))
    if selected is None:
        return ()
    layers = selected if isinstance(selected, list) else [selected]
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise VectorFileError(f'"selected_layers" must be integers, not {selected!r}')
    return tuple(sorted(set(layers)))
