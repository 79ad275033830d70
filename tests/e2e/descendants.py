"""Which processes a process has started, and those in their turn."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

_PARENT = 1  # where proc(5)'s field stands in /proc/[pid]/stat, counted from the one after the name


def descendants(ancestor: int) -> list[int]:
    """Returns the processes below one, and itself."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        children[int(fields[_PARENT])].append(int(path.parent.name))
    found = [ancestor]
    for pid in found:
        found += children[pid]
    return found
