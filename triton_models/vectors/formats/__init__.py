"""Persona vectors in files: one module for each format, and the choice between them by suffix.

`read_vector` and `write_vector` are all that the rest of the project needs. Nothing here imports
torch, gguf or safetensors before a file asks for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from triton_models.vectors.formats import (
    gguf_file,
    project_json,
    safetensors_file,
    svec_file,
    torch_file,
)
from triton_models.vectors.formats.atomic import write_atomically
from triton_models.vectors.formats.content import FileContent
from triton_models.vectors.formats.convention import Convention
from triton_models.vectors.formats.limits import MAX_FILE_BYTES, checked_vector
from triton_models.vectors.persona_vector import (
    PersonaVector,
    VectorFileError,
    check_trait_name,
)

__all__ = [
    "VECTOR_SUFFIXES",
    "Convention",
    "encode_vector",
    "read_vector",
    "read_vector_bytes",
    "write_vector",
]


_MAX_NAME_CHARS = 255
_MAX_REASON_CHARS = 1000


@dataclass(frozen=True, slots=True)
class _Format:
    read: Callable[[bytes, str, Convention | None], FileContent]
    write: Callable[[PersonaVector], bytes]


_FORMATS = {
    ".json": _Format(project_json.read, project_json.write),
    ".safetensors": _Format(safetensors_file.read, safetensors_file.write),
    ".gguf": _Format(gguf_file.read, gguf_file.write),
    ".pt": _Format(torch_file.read, torch_file.write),
    ".svec": _Format(svec_file.read, svec_file.write),
}

VECTOR_SUFFIXES = tuple(_FORMATS)
"""The suffixes of the files that can be read, and written."""


def read_vector(
    path: Path | str,
    *,
    trait_name: str | None = None,
    model_name: str | None = None,
    convention: Convention | str | None = None,
) -> PersonaVector:
    """Reads a vector from a file of any of the formats.

    Args:
        path: The file; its suffix says its format.
        trait_name: The trait, instead of what the file or its name says.
        model_name: The model, instead of what the file says.
        convention: What the file's indices count, instead of what its format usually means.

    Raises:
        VectorFileError: The file cannot be read, or not as a vector; the message names it.
    """
    path = Path(path)
    return read_vector_bytes(
        _content(path),
        path.name,
        trait_name=trait_name,
        model_name=model_name,
        convention=convention,
    )


def read_vector_bytes(
    content: bytes,
    file_name: str,
    *,
    trait_name: str | None = None,
    model_name: str | None = None,
    convention: Convention | str | None = None,
) -> PersonaVector:
    """Reads a vector from a file's bytes, as `read_vector` does from the file.

    Raises:
        VectorFileError: The bytes cannot be read as a vector; the message names the file.
    """
    path = PurePath(file_name)
    try:
        if len(content) > MAX_FILE_BYTES:
            raise _too_large(len(content))
        if not content:
            raise VectorFileError("is empty")
        found = _format(path).read(content, path.stem, _convention(convention))
        vector = checked_vector(
            _trait_name(found, trait_name),
            found.model_name if model_name is None else model_name,
            found.blocks,
            found.metadata,
        )
    except VectorFileError as error:
        # What a file says may stand in the message, and a file may say much.
        name = path.name[:_MAX_NAME_CHARS]
        raise VectorFileError(f"{name}: {error!s:.{_MAX_REASON_CHARS}}") from error
    return dataclasses.replace(vector, source=path.name, sha256=hashlib.sha256(content).hexdigest())


def encode_vector(vector: PersonaVector, suffix: str) -> bytes:
    """The bytes of a vector's file in the format of a suffix.

    Raises:
        VectorFileError: There is no such format, it cannot hold the vector, or the package that
            writes it is missing.
    """
    checked_vector(vector.trait_name, vector.model_name, vector.blocks, vector.metadata)
    return _format(PurePath("vector" + suffix)).write(vector)


def write_vector(vector: PersonaVector, path: Path | str) -> None:
    """Writes a vector to a file whose suffix says its format, in full or not at all.

    Raises:
        VectorFileError: As for `encode_vector`; the message names the file.
        OSError: The file cannot be written.
    """
    path = Path(path)
    try:
        content = encode_vector(vector, path.suffix)
    except VectorFileError as error:
        raise VectorFileError(f"{path.name}: {error}") from error
    write_atomically(content, path)


def _content(path: Path) -> bytes:
    """A file's bytes, read only if there are not too many of them and they come to an end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise VectorFileError(f"{path.name}: is not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise VectorFileError(f"{path.name}: {_too_large(status.st_size)}")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise VectorFileError(f"{path.name}: cannot be read: {error.strerror}") from error


def _too_large(size: int) -> VectorFileError:
    return VectorFileError(f"has {size} bytes, more than the {MAX_FILE_BYTES} a vector may have")


def _format(path: PurePath) -> _Format:
    chosen = _FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise VectorFileError(
            f"the suffix {path.suffix!r} is of no vector format: use {', '.join(VECTOR_SUFFIXES)}"
        )
    return chosen


def _convention(given: Convention | str | None) -> Convention | None:
    try:
        return None if given is None else Convention(given)
    except ValueError as error:
        known = ", ".join(convention.value for convention in Convention)
        raise VectorFileError(f"there is no convention {given!r}: use {known}") from error


def _trait_name(found: FileContent, given: str | None) -> str:
    """The trait's name: given, or in the file, or made of the file's name."""
    if given is not None:
        return check_trait_name(given)
    if found.trait_in_file:
        return found.trait_name
    try:
        return check_trait_name(found.trait_name)
    except VectorFileError as error:
        raise VectorFileError(f"{error}; or give the trait's name") from error
