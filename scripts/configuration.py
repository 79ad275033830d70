#!/usr/bin/env python3
"""Writes the tables of variables in README.md and docs/configuration.md, from their declarations.

With --check nothing is written, and the status is 1 if a table differs from them.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.settings import Settings
from launcher.settings import Preparations, StackSettings, TritonSecrets
from persona_research.markdown import markdown_table
from triton_models.settings import REPOSITORY_ROOT as ROOT
from triton_models.settings import ServerSettings
from triton_models.variables import Variables, valid_values

PAGES = (ROOT / "README.md", ROOT / "docs" / "configuration.md")
PROGRAMS: dict[str, tuple[type[Variables], ...]] = {
    "server": (ServerSettings,),
    "gateway": (Settings,),
    "launcher": (StackSettings, TritonSecrets, Preparations),
}
"""Who reads which declarations. Of a variable that several read, the first one's default counts."""

MOST_USED = (
    "MODEL_NAME",
    "DEVICE",
    "VECTORS_DIR",
    "HOST",
    "PORT",
    "MAX_BATCH_ROWS",
    "MAX_CONTEXT",
    "MAX_TOKENS",
    "API_KEYS_FILE",
    "LOG_LEVEL",
)
"""Those that README.md lists."""

_TABLE = re.compile(r"(<!-- variables: (.*?) -->\n).*?(?=<!-- end -->)", re.S)


def declarations() -> dict[str, dict[str, FieldInfo]]:
    """Returns for each variable the programs that read it, with what they declare."""
    found: dict[str, dict[str, FieldInfo]] = {}
    for program, classes in PROGRAMS.items():
        for each in classes:
            for name, field in each.variables().items():
                found.setdefault(name, {}).setdefault(program, field)
    return found


def set_by_images() -> dict[str, dict[str, str]]:
    """Returns for each variable the images of Dockerfile.triton that set it, and to what."""
    found: dict[str, dict[str, str]] = {}
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile.triton").read_text(), flags=re.M)[1:]
    for stage in stages:
        base, name = re.findall(r"^(\S+) AS (\S+)$", stage, re.M)[0]
        assignments = "".join(re.findall(r"^ENV ((?:.*\\\n)*.*\n)", stage, re.M))
        for variable, value in re.findall(r"([A-Z_]+)=(\S+)", assignments):
            found.setdefault(variable, {})[f"persona-{name}"] = value
        for images in found.values():
            if f"persona-{base}" in images:
                images.setdefault(f"persona-{name}", images[f"persona-{base}"])
    return found


def filled(page: str) -> str:
    """Returns a page's text with its tables as the declarations are."""
    return _TABLE.sub(lambda found: f"{found[1]}{_table(found[2])}\n", page)


def _table(selection: str) -> str:
    declared, images = declarations(), set_by_images()
    if selection == "most used":
        names = list(MOST_USED)
    else:
        names = [name for name, readers in declared.items() if next(iter(readers)) == selection]
    rows = [list(_row(name, declared[name], images.get(name, {}))) for name in names]
    header = ["variable", "default", "meaning", "read by"]
    if selection == "most used":
        header, rows = header[:3], [row[:3] for row in rows]
    return markdown_table(header, rows)


def _row(name: str, readers: dict[str, FieldInfo], images: dict[str, str]) -> Iterator[str]:
    field = next(iter(readers.values()))
    values = valid_values(field).removeprefix("an integer ").removeprefix("a number ")
    yield f"`{name}`"
    yield _default(readers, images)
    yield f"{field.description}{f' ({values})' if re.match('from|above', values) else ''}"
    yield ", ".join(readers)


def _default(readers: dict[str, FieldInfo], images: dict[str, str]) -> str:
    """Returns a variable's default, and those of programs and images where it is another."""
    defaults = {program: _shown(field.default) for program, field in readers.items()}
    first, *_ = defaults.values()
    differing: dict[str, list[str]] = {}
    for program, value in defaults.items():
        if value not in ("none", first):
            differing.setdefault(value, []).append(f"the {program}")
    for image, value in images.items():
        if {f"`{value}`"} != set(defaults.values()):
            differing.setdefault(f"`{value}`", []).append(f"`{image}`")
    shown = (
        f"{value} in {'the images' if len(where) > 1 else where[0]}"
        for value, where in differing.items()
    )
    return "; ".join([first, *shown])


def _shown(default: Any) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default in ("", None, ()):
        return "none"
    if isinstance(default, Path):
        default = f"./{default.relative_to(ROOT)}"
    if isinstance(default, float):
        default = f"{default:g}"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def main() -> int:
    """Writes the pages, or compares them, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it would")
    check = parser.parse_args().check
    status = 0
    for page in PAGES:
        text = page.read_text()
        if filled(text) == text:
            continue
        if check:
            print(f"{page.name} differs: run scripts/configuration.py", file=sys.stderr)
            status = 1
        else:
            page.write_text(filled(text))
    return status


if __name__ == "__main__":
    sys.exit(main())
