"""The documented variables are the declared ones, with their defaults and descriptions."""

from __future__ import annotations

import re
import runpy

import pytest

from triton_models.settings import REPOSITORY_ROOT

# A script, not a module of a package: run for what it defines.
SCRIPT = runpy.run_path(str(REPOSITORY_ROOT / "scripts" / "configuration.py"))
DECLARED, PAGES, filled = SCRIPT["declarations"](), SCRIPT["PAGES"], SCRIPT["filled"]
PAGE = (REPOSITORY_ROOT / "docs" / "configuration.md").read_text()
OF_OTHERS = {
    "LD_LIBRARY_PATH",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "PATH",
}
"""Variables of the system and of OpenTelemetry, which have their meaning from there."""

UNITS = {"": 1, "s": 1, "KiB": 2**10, "MiB": 2**20}


def test_the_tables_are_what_is_declared() -> None:
    for page in PAGES:
        text = page.read_text()
        assert filled(text) == text, f"{page.name} differs: run scripts/configuration.py"


def test_every_declared_variable_has_one_row() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.M)
    assert sorted(rows) == sorted(DECLARED)


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"\| `MAX_WAITING` .*\n", ""),
        (r"(\| `WORKERS` .*\n)", r"\1| `MORE_WORKERS` | `1` | more of them | gateway |\n"),
        (r"(\| `MAX_BATCH_ROWS` \|) `32`", r"\1 `64`"),
        ("requests in a batch", "requests in a group"),
        (r"`/tmp/run` in the images", "`/run` in the images"),
    ],
)
def test_a_row_that_is_missing_extra_or_different_is_noticed(
    pattern: str, replacement: str
) -> None:
    changed, count = re.subn(pattern, replacement, PAGE)
    assert count == 1
    assert filled(changed) == PAGE


def test_programs_that_read_the_same_variable_mean_the_same() -> None:
    shared = {name: list(readers.values()) for name, readers in DECLARED.items()}
    shared = {name: fields for name, fields in shared.items() if len(fields) > 1}
    assert {"MODEL_NAME", "VECTORS_DIR", "PORT", "TRITON_ACCESS_KEY", "LOG_LEVEL"} <= set(shared)
    for name, (first, *others) in shared.items():
        for other in others:
            assert other.description is first.description, name
            assert repr(other.metadata) == repr(first.metadata), name
            assert other.annotation in (first.annotation, first.annotation | None), name


def test_no_program_reads_a_variable_that_is_not_declared() -> None:
    read = set()
    for folder in ("gateway", "launcher", "triton_models"):
        for path in (REPOSITORY_ROOT / folder).rglob("*.py"):
            found = re.findall(
                r"environ\w*(?:\.get\(|\[|\.pop\()\s*[\"'](\w+)[\"']", path.read_text()
            )
            read |= set(found)
    assert {"API_KEYS", "PATH"} <= read
    assert read <= DECLARED.keys() | OF_OTHERS


def test_the_defaults_that_other_pages_name_are_the_declared_ones() -> None:
    pages = [*(REPOSITORY_ROOT / "docs").glob("*.md"), *REPOSITORY_ROOT.glob("deploy/*/README.md")]
    text = "\n".join(page.read_text() for page in pages)
    named = re.findall(r"`([A-Z_]+)` \(([\d,]+)(?: (s|KiB|MiB))?\b", text)
    assert {"MAX_BODY_BYTES", "SHUTDOWN_TIMEOUT", "MAX_TOKENS"} <= {name for name, *_ in named}
    for name, number, unit in named:
        field = next(iter(DECLARED[name].values()))
        assert int(number.replace(",", "")) * UNITS[unit] == field.default, name
