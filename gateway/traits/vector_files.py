"""Writing and removing vector files in the folder that Triton watches."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConflictError, StorageError, StorageFullError
from triton_models.vectors.formats import encode_vector
from triton_models.vectors.formats.atomic import write_atomically
from triton_models.vectors.persona_vector import PersonaVector

SUFFIX = ".safetensors"
"""What uploads are written as, whatever they came as: exact, small and quick to read."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A vector file that was written.

    Attributes:
        source: Its path within the folder.
        identity: Tells it from a file that takes its place later.
        replaced: Whether there was a file of that name before.
    """

    source: str
    sha256: str
    identity: tuple[int, int]
    replaced: bool


class VectorStore:
    """The folder of vector files, made when the first one is written. Its methods block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def source_of(trait: str) -> str:
        """Returns the path, within the folder, that a trait's vector is written to."""
        return trait + SUFFIX

    def write(self, vector: PersonaVector) -> WrittenFile:
        """Writes a vector to a file of its trait's name, which is there in full or not at all.

        Raises:
            StorageError: It cannot be written; what was there before still is.
        """
        content = encode_vector(vector, SUFFIX)
        source = self.source_of(vector.trait_name)
        target = self._folder / source
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replaced = target.exists()
            write_atomically(content, target)
            identity = _identity(target)
        except OSError as error:
            raise _storage_error(error, "written") from error
        return WrittenFile(source, hashlib.sha256(content).hexdigest(), identity, replaced)

    def is_current(self, written: WrittenFile) -> bool:
        """Whether a file that was written is still there, and no other one in its place."""
        try:
            return _identity(self._folder / written.source) == written.identity
        except OSError:
            return False

    def remove(self, source: str) -> None:
        """Removes a file, by its path within the folder, if it is there.

        Raises:
            StorageError: It cannot be removed.
            ConflictError: It lies outside the folder.
        """
        path = self._folder / source
        try:
            if not path.parent.resolve().is_relative_to(self._folder.resolve()):
                raise ConflictError(
                    f"{source} lies outside the folder of vectors, behind a link: remove it there"
                )
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _storage_error(error, "removed") from error


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _storage_error(error: OSError, done: str) -> StorageError:
    kind = StorageFullError if error.errno in _FULL else StorageError
    return kind(
        f"the vector file cannot be {done} ({error.strerror}): check VECTORS_DIR, its room and its "
        "permissions",
        repr(error),
    )
