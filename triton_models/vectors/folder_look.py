"""What lies in the folder of vectors at a moment: which files, and what tells a changed one."""

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
"""Files of this name beside a vector file hold the analysis of a vector, not a vector."""

MAX_FILES = 10_000
MAX_ENTRIES = 100_000

Signature = tuple[int, ...]
"""Device, inode, size, and the times of the last change of content and of inode, in nanoseconds.

The inode's own time also tells a file that was replaced by another one with the first one's times.
"""

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(slots=True)
class Look:
    """A folder's vector files.

    Attributes:
        files: The signature of each, by its path within the folder.
        problems: What could not be looked at.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def signature_of(path: Path) -> Signature | None:
    """Returns a file's signature, or `None` if there is none or it is no regular file.

    Raises:
        OSError: It cannot be told.
    """
    try:
        status = path.stat()
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise
    if not stat.S_ISREG(status.st_mode):
        return None  # reading a pipe, say, would wait for ever
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def take_look(folder: Path, before: Mapping[str, Signature]) -> Look:
    """Looks for vector files in a folder and those below it.

    Links are followed, also out of the folder: whoever can write here decides what the model is
    steered by anyway, and Kubernetes mounts a ConfigMap as links into a hidden folder beside them.
    Names that begin with a dot are left out, so that such a file is found once, and an upload only
    when it is complete. A folder is looked at once, however many links lead to it.

    Args:
        folder: Where to look; one that is missing is empty.
        before: The look before. What cannot be looked at now, for a failing network say, is taken
            to be as it was.
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
                # Not all of them at once: the limit is there for folders that are no such folder.
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
            reason = f"there are more than {MAX_FILES} files or {MAX_ENTRIES} names: not all count"
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
    """Adds one entry of a folder: a file to the look, a folder to the places yet to be seen."""
    source = place + entry.name
    try:
        if entry.is_dir():
            # Links last: a folder is known by its own name rather than by a link's.
            (places.append if entry.is_symlink() else places.appendleft)(f"{source}/")
        elif _may_be_vector(entry.name) and len(look.files) < MAX_FILES:
            signature = signature_of(Path(entry.path))
            if signature is not None:
                look.files[source] = signature
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            _keep(look, before, source, error)


def _keep(look: Look, before: Mapping[str, Signature], place: str, error: OSError) -> None:
    look.problems.append(Problem(place or ".", f"cannot be looked at: {error.strerror}"))
    look.files.update(
        (source, signature) for source, signature in before.items() if source.startswith(place)
    )


def _may_be_vector(name: str) -> bool:
    return Path(name).suffix.lower() in VECTOR_SUFFIXES and not name.endswith(ANALYSIS_SUFFIX)
