"""Files that are there in full or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def write_atomically(content: bytes, path: Path) -> None:
    """Writes a file so that a reader, or a crash, sees the old one or the new one, never a part.

    Raises:
        OSError: The file cannot be written; the old one is as it was.
    """
    # A name of its own keeps two writers of one file from mixing their parts.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    # The new name is on disk once its folder is; not every file system can do this.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
