"""Tables of answers, as files that other programs read."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persona_client.cli import exits

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a text begins that spreadsheets run as a formula."""


def check_folder(path: Path) -> None:
    """Fails before the answers are computed rather than after."""
    if not path.parent.is_dir():
        exits.fail(f"{path} cannot be written: there is no folder {path.parent}")


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV, with a column for every name that any of them has.

    What others wrote must not run in a spreadsheet: a text that begins as a formula does has an
    apostrophe before it.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(map(_cell, names))
            table.writerows([_cell(row.get(name)) for name in names] for row in rows)
    except OSError as error:
        exits.fail(f"{path} cannot be written: {error.strerror}")


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
