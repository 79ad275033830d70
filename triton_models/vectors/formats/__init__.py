"""Reads and writes persona vectors: one module for each format, chosen by the file's suffix.

The rest of the project uses the functions here only. torch, gguf and safetensors are imported only
for files that need them.
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
from triton_models.vectors.persona_vector import PersonaVector, VectorFileError, check_trait_name

__all__ = [
    "VECTOR_SUFFIXES",
    "Convention",
    "encode_vector",
    "find_vector",
    "read_vector",
    "read_vector_bytes",
    "write_vector",
]


_MAX_NAME_CHARS = 255
_MAX_REASON_CHARS = 1000


@dataclass(frozen=True, slots=True)
class _Format:
    read: Callable[[bytes, str, Convention | None], FileContent]
    """Reads a file's bytes, given its name without the suffix and what its indices count, `None` if
    that is as usual in the format. Raises `VectorFileError`."""
    write: Callable[[PersonaVector], bytes]


_FORMATS = {
    ".json": _Format(project_json.read, project_json.write),
    ".safetensors": _Format(safetensors_file.read, safetensors_file.write),
    ".gguf": _Format(gguf_file.read, gguf_file.write),
    ".pt": _Format(torch_file.read, torch_file.write),
    ".svec": _Format(svec_file.read, svec_file.write),
}

VECTOR_SUFFIXES = tuple(_FORMATS)


def find_vector(named: str, folder: Path) -> Path:
    """Returns the path of a vector's file, given as such, or by the name of a trait of a folder.

    Raises:
        VectorFileError: The folder has none of the trait.
    """
    path = Path(named)
    if path.suffix.lower() in VECTOR_SUFFIXES or path.name != named:
        return path
    for suffix in VECTOR_SUFFIXES:
        candidate = folder / f"{named}{suffix}"
        if candidate.is_file():
            return candidate
    raise VectorFileError(f"there is no vector of {named!r} in {folder}: name a file or a trait")


def read_vector(
    path: Path | str,
    *,
    trait_name: str | None = None,
    model_name: str | None = None,
    convention: Convention | str | None = None,
    layer: int | None = None,
) -> PersonaVector:
    """Reads a vector from a file of any format, which its suffix determines.

    The names override those in the file, or of the file; the convention overrides what the format's
    indices count; the layer is that of a `.pt` file's single vector, whatever its name says.

    Raises:
        VectorFileError: The file cannot be read, or is not a vector; the message names it.
    """
    path = Path(path)
    return read_vector_bytes(
        _content(path),
        path.name,
        trait_name=trait_name,
        model_name=model_name,
        convention=convention,
        layer=layer,
    )


def read_vector_bytes(
    content: bytes,
    file_name: str,
    *,
    trait_name: str | None = None,
    model_name: str | None = None,
    convention: Convention | str | None = None,
    layer: int | None = None,
) -> PersonaVector:
    """Reads a vector from a file's bytes; see `read_vector`.

    Raises:
        VectorFileError: The bytes cannot be read as a vector; the message names the file.
    """
    path = PurePath(file_name)
    try:
        if len(content) > MAX_FILE_BYTES:
            raise _too_large(len(content))
        if not content:
            raise VectorFileError("is empty")
        found = _read(content, path, _convention(convention), layer)
        vector = checked_vector(
            _trait_name(found, trait_name),
            found.model_name if model_name is None else model_name,
            found.blocks,
            found.metadata,
        )
    except VectorFileError as error:
        # The message may quote the file, so it is cut.
        name = path.name[:_MAX_NAME_CHARS]
        raise VectorFileError(f"{name}: {error!s:.{_MAX_REASON_CHARS}}") from error
    return dataclasses.replace(vector, source=path.name, sha256=hashlib.sha256(content).hexdigest())


def encode_vector(vector: PersonaVector, suffix: str) -> bytes:
    """Returns a vector's file in the format of a suffix.

    Raises:
        VectorFileError: The format is unknown, it cannot represent the vector, or the package that
            writes it is missing.
    """
    checked_vector(vector.trait_name, vector.model_name, vector.blocks, vector.metadata)
    return _format(PurePath("vector" + suffix)).write(vector)


def write_vector(vector: PersonaVector, path: Path | str) -> None:
    """Writes a vector to a file atomically; its suffix determines the format.

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
    """Returns a file's bytes, if it is a regular file that is not too large."""
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


def _read(
    content: bytes, path: PurePath, convention: Convention | None, layer: int | None
) -> FileContent:
    if layer is None:
        return _format(path).read(content, path.stem, convention)
    if _format(path) is not _FORMATS[".pt"]:
        raise VectorFileError("says itself which layers it has: only a .pt file may be told")
    return torch_file.read(content, path.stem, convention, layer)


def _too_large(size: int) -> VectorFileError:
    return VectorFileError(f"has {size} bytes, more than the {MAX_FILE_BYTES} a vector may have")


def _format(path: PurePath) -> _Format:
    chosen = _FORMATS.get(path.suffix.lower())
    if chosen is None:
        raise VectorFileError(
            f"unknown vector format {path.suffix!r}: use {', '.join(VECTOR_SUFFIXES)}"
        )
    return chosen


def _convention(given: Convention | str | None) -> Convention | None:
    try:
        return None if given is None else Convention(given)
    except ValueError as error:
        known = ", ".join(convention.value for convention in Convention)
        raise VectorFileError(f"unknown convention {given!r}: use {known}") from error


def _trait_name(found: FileContent, given: str | None) -> str:
    """Returns the trait's name: as given, or from the file, or from the file's name."""
    if given is not None:
        return check_trait_name(given)
    if found.trait_name:
        return found.trait_name
    try:
        return check_trait_name(found.file_trait)
    except VectorFileError as error:
        raise VectorFileError(f"{error}; or give the trait's name") from error
