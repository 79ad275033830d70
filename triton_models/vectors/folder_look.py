"""A scan of the vectors folder: its files, with signatures that detect changes."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from triton_models.vectors.formats import VECTOR_SUFFIXES
from triton_models.vectors.registry import Problem

ANALYSIS_SUFFIX = "_extended.json"
"""Files with this ending hold the analysis of a vector, not a vector."""

MAX_FILES = 10_000
MAX_ENTRIES = 100_000

Signature = tuple[int, ...]
"""Device, inode, size, and the times of the last change of content and of inode, in nanoseconds.

The inode's time also detects a file that was replaced by one with the same modification time.
"""

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(slots=True)
class Look:
    """The result of a scan.

    Attributes:
        files: The signature of each vector file, by its path within the folder.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def signature_of(path: Path) -> Signature | None:
    """Returns a file's signature, `None` if it does not exist or is not a regular file.

    Raises:
        OSError: It cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise
    if not stat.S_ISREG(status.st_mode):
        return None  # reading a pipe, for example, could block for ever
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def take_look(folder: Path, before: Mapping[str, Signature]) -> Look:
    """Scans a folder and its subfolders for vector files; a missing folder counts as empty.

    Links are followed, even out of the folder: anyone who can write here controls the steering
    anyway, and Kubernetes mounts a ConfigMap as links into a hidden folder. Names that begin with a
    dot are skipped, so that such a file is found once, and an upload only when it is complete. A
    folder is scanned once, however many links lead to it. Files of the scan `before` that cannot be
    scanned now, for example because the network fails, are taken to be unchanged.
    """
    look = Look()
    visited: set[tuple[int, int]] = set()
    places = deque([""])
    num_entries = 0
    while places:
        place = places.popleft()
        try:
            status = (folder / place).stat()
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder / place) as entries:
                # Lazily, since the limit is meant for a wrong folder with far too many files.
                found = list(itertools.islice(entries, MAX_ENTRIES - num_entries))
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                _keep(look, before, place, error)
            continue
        num_entries += len(found)
        for entry in sorted(found, key=lambda entry: entry.name):
            if not entry.name.startswith("."):
                _add(look, before, place, entry, places)
        if num_entries >= MAX_ENTRIES or len(look.files) >= MAX_FILES:
            reason = f"has more than {MAX_FILES} files or {MAX_ENTRIES} names: the rest is ignored"
            look.problems.append(Problem(place or ".", reason))
            break
    return look


def _add(
    look: Look,
    before: Mapping[str, Signature],
    place: str,
    entry: os.DirEntry[str],
    places: deque[str],
) -> None:
    """Adds one entry of a folder: a file to the result, a folder to those still to be scanned."""
    source = place + entry.name
    try:
        if entry.is_dir():
            # Links last, so that a folder is known by its own name rather than by a link's.
            (places.append if entry.is_symlink() else places.appendleft)(f"{source}/")
        elif _may_be_vector(entry.name) and len(look.files) < MAX_FILES:
            signature = signature_of(Path(entry.path))
            if signature is not None:
                look.files[source] = signature
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            _keep(look, before, source, error)


def _keep(look: Look, before: Mapping[str, Signature], place: str, error: OSError) -> None:
    look.problems.append(Problem(place or ".", f"cannot be read: {error.strerror}"))
    look.files.update(
        (source, signature) for source, signature in before.items() if source.startswith(place)
    )


def _may_be_vector(name: str) -> bool:
    return Path(name).suffix.lower() in VECTOR_SUFFIXES and not name.endswith(ANALYSIS_SUFFIX)
