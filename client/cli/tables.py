"""Tables of answers, as files that other programs read."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persona_client.cli import exits


def check_folder(path: Path) -> None:
    """Fails before the answers are computed rather than after."""
    if not path.parent.is_dir():
        exits.fail(f"{path} cannot be written: there is no folder {path.parent}")


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV, with a column for every name that any of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)
    except OSError as error:
        exits.fail(f"{path} cannot be written: {error.strerror}")
