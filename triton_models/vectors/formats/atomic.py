"""Atomic writing of files."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def write_atomically(content: bytes, path: Path) -> None:
    """Writes a file so that a reader, even after a crash, sees either the old or the new content.

    Raises:
        OSError: The file cannot be written; the old one is unchanged.
    """
    # A unique name keeps two writers of one file apart.
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
    # The rename is durable once the folder is synced, which not every file system supports.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
