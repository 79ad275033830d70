"""Which of Triton's published holes the images and the wheel have, and that the page says so."""

from __future__ import annotations

import re
import runpy
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from launcher.settings import ROOT

# A script, not a module of a package: run for what it defines.
AUDIT: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "triton_audit.py"))
LIST = ROOT / "deploy" / "triton-vulnerabilities.tsv"
PAGE = ROOT / "docs" / "triton-security.md"
BASE = "nvcr.io/nvidia/tritonserver"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the audit reads."""
    for name in ("Dockerfile.triton", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "deploy" / "container").mkdir(parents=True)
    shutil.copy(LIST, tmp_path / "deploy")
    return tmp_path


def edit(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text())
    assert count
    file.write_text(text)


def test_the_images_triton_has_no_known_hole_and_the_wheel_s_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert AUDIT["main"]() == 0
    said = capsys.readouterr().out
    release = AUDIT["image_release"](ROOT)
    assert f"images: Triton {release} has none of the " in said
    assert re.search(r"warning: the wheel's Triton 24.10 has \d\d \(.*http 4.*\)", said)


def test_an_older_base_fails_with_each_hole_and_what_mends_it(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(project / "Dockerfile.triton", r"tritonserver:\d\d\.\d\d", "tritonserver:25.12")
    assert AUDIT["main"](project) == 1
    said = capsys.readouterr().out
    assert "error: CVE-2026-24207 (9.8) is in the images' Triton 25.12: 26.03 mends it" in said
    assert "CVE-2025-23310" not in said


def test_the_base_that_was_built_on_counts_before_the_default(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bases = project / "deploy" / "container" / "bases.env"
    bases.write_text(f"TRITON_IMAGE={BASE}:26.06-py3@sha256:{'0' * 64}\nPYTHON_IMAGE=a\n")
    assert AUDIT["main"](project) == 1
    assert "CVE-2026-16497 (7.5) is in the images' Triton 26.06" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "message"),
    [
        ("Dockerfile.triton", r"tritonserver:\S+", "tritonserver", "names no release of Triton"),
        ("pyproject.toml", r"nvidia-pytriton==\S+\"", 'nvidia-pytriton==9.9"', "is not in WHEELS"),
        ("pyproject.toml", r"nvidia-pytriton==", "nvidia-pytriton>=", "pins no nvidia-pytriton"),
        ("deploy/triton-vulnerabilities.tsv", r"\t26.07\t", "\t", "was not audited"),
    ],
)
def test_what_cannot_be_compared_is_no_clean_result(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    pattern: str,
    replacement: str,
    message: str,
) -> None:
    edit(project / file, pattern, replacement)
    assert AUDIT["main"](project) == 1
    assert message in capsys.readouterr().err


def test_the_page_has_each_hole_beside_the_release_that_mends_it() -> None:
    listed = {each.cve: each.fixed for each in AUDIT["read_list"](LIST.read_text())}
    rows = re.findall(r"^\| (\d\d\.\d\d) \((.*)\) \| (.*?) \|", PAGE.read_text(), re.M)
    found = {
        f"CVE-{number}": release for release, _, cves in rows
        for number in re.findall(r"\b(20\d\d-\d{4,5})\b", cves)
    }  # fmt: skip
    assert found == listed


def test_the_page_counts_the_wheel_s_holes_as_the_list_does() -> None:
    holes = AUDIT["known_in"]("24.10", AUDIT["read_list"](LIST.read_text()))
    doors = Counter(each.reach for each in holes)
    counted = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", PAGE.read_text(), re.M))
    assert counted == {door: str(count) for door, count in doors.items()}
