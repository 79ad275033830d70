"""Finding the vector files that a command is told of."""

from __future__ import annotations

from pathlib import Path

from triton_models.vectors.formats import VECTOR_SUFFIXES
from triton_models.vectors.persona_vector import VectorFileError

_WITHOUT_METADATA = (".pt", ".svec")


def find_vector(name: str, folder: Path) -> Path:
    """Returns the path of a vector file, given as such or by the trait's name.

    Raises:
        VectorFileError: There is none.
    """
    if name.endswith(VECTOR_SUFFIXES):
        return Path(name)
    for suffix in VECTOR_SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise VectorFileError(f"there is no vector of {name!r} in {folder}: name a file or a trait")


def check_keeps_metadata(path: Path, otherwise: str = "") -> None:
    """Makes sure that a vector file's format can hold what a command finds out.

    Raises:
        VectorFileError: It cannot; the message says what to do, `otherwise` among it.
    """
    if path.suffix in _WITHOUT_METADATA:
        raise VectorFileError(
            f"{path.name} cannot hold metadata: convert it to .json or .safetensors (persona "
            f"vectors import){otherwise}"
        )
