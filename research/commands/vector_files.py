"""What a command makes sure of before it changes vector files."""

from __future__ import annotations

from pathlib import Path

from triton_models.vectors.persona_vector import VectorFileError

_WITHOUT_METADATA = (".pt", ".svec")


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
