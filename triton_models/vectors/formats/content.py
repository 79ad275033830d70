"""What a format's reader returns, and what the readers of tensors share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triton_models.vectors.formats.limits import as_float32, check_hidden_size, checked_index
from triton_models.vectors.persona_vector import VectorFileError

DEFAULT_ARCHITECTURE = "qwen2"
"""The architecture that this project serves, for vectors that do not name another."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """The content of one vector file, before names are resolved.

    Attributes:
        blocks: For each 0-based decoder block a finite float32 vector [hidden_size].
        file_trait: The trait's name from the file's name.
        trait_name: The trait's name in the file itself, which is used as it is, or `""`.
        model_name: The model's name from the file, or `""`.
    """

    blocks: dict[int, NDArray[np.float32]]
    file_trait: str
    trait_name: str = ""
    model_name: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file.

    Attributes:
        type: Its type, as messages name it.
        dtype: The numpy dtype of its elements, `<u2` for bfloat16; `None` if it is no vector's.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    dtype: str | None
    data: bytes | memoryview


def vectors_of(
    tensors: Iterable[StoredTensor], prefix: str, expected: str
) -> dict[int, NDArray[np.float32]]:
    """Returns tensors that are named by a prefix and an index, by that index.

    Raises:
        VectorFileError: A tensor has another name (the message says what is `expected`), or is not
            a vector of finite floats.
    """
    vectors = {}
    for tensor in tensors:
        name = tensor.name
        if not name.startswith(prefix):
            raise VectorFileError(f"has a tensor {name[:40]!r}: {expected}")
        index = checked_index(name.removeprefix(prefix))
        if len(tensor.shape) != 1:
            raise VectorFileError(
                f"{name} has the shape {list(tensor.shape)}: a vector has one dimension"
            )
        if tensor.dtype is None:
            raise VectorFileError(f"{name} has the {tensor.type}: use F32, F16 or BF16")
        check_hidden_size(tensor.shape[0], name)
        vectors[index] = as_float32(np.frombuffer(tensor.data, tensor.dtype), name)
    return vectors
