"""What the images are made of is listed whole, under licences that are taken or explained."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from launcher.settings import ROOT

# A script, not a module of a package: run for what it defines.
LICENCES = runpy.run_path(str(ROOT / "scripts" / "licences.py"))
ALLOWED, EXPLAINED = LICENCES["ALLOWED"], LICENCES["EXPLAINED"]
locked, licence_of, terms, remark = (
    LICENCES[name] for name in ("locked", "licence_of", "terms", "remark")
)
Package = tuple[str, str]

LOCKS = ROOT / "deploy" / "requirements"
ROW = re.compile(r"\| (\S+) \| (\S+) \| (.+?) \| (.+?) \| (.*) \|")
MODEL_CARD = ROOT / "data" / "models" / "demo" / "README.md"


def listed() -> dict[Package, tuple[str, set[str], str]]:
    """Returns each listed package's licence, images and remark."""
    rows = (
        ROW.fullmatch(line) for line in (ROOT / "docs" / "licences.md").read_text().splitlines()
    )
    packages = {(row[1], row[2]): (row[3], set(row[4].split(", ")), row[5]) for row in rows if row}
    return {each: row for each, row in packages.items() if each[0] != "package"}


def test_the_list_has_exactly_what_the_images_install() -> None:
    images: dict[Package, set[str]] = {}
    for lock in LOCKS.glob("*.txt"):
        for package in locked(lock):
            images.setdefault(package, set()).add(lock.stem)
    found = {package: row[1] for package, row in listed().items()}
    assert found == images, "run python scripts/licences.py"


def test_every_licence_is_taken_or_explained_and_no_more_is_explained() -> None:
    not_taken = {
        (name, licence): explained
        for (name, _), (licence, _, explained) in listed().items()
        if not terms(licence) <= ALLOWED
    }
    assert all(not_taken.values())
    assert EXPLAINED.keys() <= set().union(*not_taken)
    for (name, _), (licence, _, explained) in listed().items():
        assert explained == remark(name, licence)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"license_expression": "MIT AND BSD-3-Clause", "license": "x"}, "MIT AND BSD-3-Clause"),
        ({"license": "Apache 2.0"}, "Apache-2.0"),
        (
            {"license": "All\nof it", "classifier": ["License :: OSI Approved :: MIT License"]},
            "MIT",
        ),
        ({"classifier": ["Topic :: Software Development"]}, "not stated"),
    ],
)
def test_a_licence_is_read_where_a_package_states_it(
    metadata: dict[str, str | list[str]], licence: str
) -> None:
    assert licence_of(metadata) == licence


@pytest.mark.slow
def test_the_bill_of_materials_has_every_locked_file_and_is_the_same_each_time(
    tmp_path: Path,
) -> None:
    bills = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        done = subprocess.run(
            ["./scripts/sbom.sh", str(folder), "gateway"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
        )
        if "Failed to fetch" in done.stderr:
            pytest.skip(f"cyclonedx-bom cannot be downloaded: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
        bills.append((folder / "gateway.cdx.json").read_bytes())
    assert bills[0] == bills[1]
    bill = json.loads(bills[0])
    assert bill["bomFormat"] == "CycloneDX"
    components = {
        (each["name"], each["version"]): {
            digest["content"]
            for reference in each["externalReferences"]
            for digest in reference["hashes"]
        }
        for each in bill["components"]
    }
    assert components == locked(LOCKS / "gateway.txt")


def test_the_model_card_says_what_a_user_has_to_know() -> None:
    card = MODEL_CARD.read_text()
    for part in ("## Training", "## Behaviour", "## Harmful traits", "not** a", "parameters"):
        assert part in card
    # How to make it again, and what it does, lie where the card says.
    assert (ROOT / "scripts" / "train_demo_model.py").is_file()
    assert "scripts/train_demo_model.py" in card
    assert "data/models/demo/README.md" in (ROOT / "docs" / "supply-chain.md").read_text()
