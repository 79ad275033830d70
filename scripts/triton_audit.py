#!/usr/bin/env python3
"""Compares the Triton of the images and of the wheel with the holes that NVIDIA has published.

The images' must have none that is known. The wheel's, which serves on loopback only, has: how many
is said, and docs/triton-security.md says what stands against each.

    python scripts/triton_audit.py        exits with 1 if the images' Triton has a known hole
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = Path("deploy/triton-vulnerabilities.tsv")
PAGE = "docs/triton-security.md"

WHEELS = {"0.5.14": "24.10", "0.6.0": "24.10", "0.7.0": "24.10"}
"""The release of Triton that each version of the nvidia-pytriton wheel carries."""


class AuditError(Exception):
    """What is to be compared cannot be read."""


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """A published one.

    Attributes:
        fixed: The first release without it, such as `26.03`.
        reach: Which door it takes: `http`, `control`, `shared-memory`, `any`, `absent`.
    """

    cve: str
    fixed: str
    score: float
    bulletin: str
    reach: str


def read_list(text: str) -> list[Vulnerability]:
    """Reads the published vulnerabilities: a table with tabs, remarks, and a heading."""
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return [
        Vulnerability(cve, fixed, float(score), bulletin, reach)
        for cve, fixed, score, bulletin, reach in rows[1:]
    ]


def image_release(root: Path) -> str:
    """Returns the release of Triton that the images are built on.

    `bases.env`, if a build has written it, counts before the Dockerfile's default.

    Raises:
        AuditError: It does not say which.
    """
    written = root / "deploy" / "container" / "bases.env"
    file = written if written.is_file() else root / "Dockerfile.triton"
    found = re.search(r"^(?:ARG )?TRITON_IMAGE=\S*:(\d\d\.\d\d)-py3", file.read_text(), re.M)
    if not found:
        raise AuditError(
            f"{file.relative_to(root)} names no release of Triton: use a tag like 26.11-py3"
        )
    return found[1]


def wheel_release(root: Path) -> str:
    """Returns the release of Triton that the wheel of `pyproject.toml` carries.

    Raises:
        AuditError: There is no wheel, or nobody has written down what it carries.
    """
    found = re.search(r'"nvidia-pytriton==([^"]+)"', (root / "pyproject.toml").read_text())
    if not found:
        raise AuditError("pyproject.toml pins no nvidia-pytriton")
    if found[1] not in WHEELS:
        raise AuditError(
            f"nvidia-pytriton {found[1]} is not in WHEELS: look which Triton it carries"
        )
    return WHEELS[found[1]]


def known_in(release: str, vulnerabilities: Sequence[Vulnerability]) -> list[Vulnerability]:
    """Returns those that a release has, the worst first."""
    found = [each for each in vulnerabilities if _order(release) < _order(each.fixed)]
    return sorted(found, key=lambda each: (-each.score, each.cve))


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


def main(root: Path = ROOT) -> int:
    """Prints what is known of both; the exit status is 1 where the images' Triton has a hole."""
    try:
        text = (root / LIST).read_text()
        vulnerabilities = read_list(text)
        image, wheel = image_release(root), wheel_release(root)
    except (AuditError, OSError, ValueError) as error:
        print(f"error: Triton was not audited: {error}", file=sys.stderr)
        return 1
    read = re.search(r"^# read\t(\S+)\t(\S+)$", text, re.M)
    upto = f"bulletin {read[1]} of {read[2]}" if read else "an unknown date"
    print(f"Triton, by NVIDIA's bulletins up to {upto}: look for later ones")
    open_in_image = known_in(image, vulnerabilities)
    for each in open_in_image:
        print(
            f"error: {each.cve} ({each.score}) is in the images' Triton {image}: "
            f"{each.fixed} mends it"
        )
    if not open_in_image:
        print(f"images: Triton {image} has none of the {len(vulnerabilities)} that are known")
    open_in_wheel = known_in(wheel, vulnerabilities)
    if open_in_wheel:
        doors = Counter(each.reach for each in open_in_wheel)
        shown = ", ".join(f"{door} {count}" for door, count in sorted(doors.items()))
        print(
            f"warning: the wheel's Triton {wheel} has {len(open_in_wheel)} ({shown}): for this "
            f"machine only, and see {PAGE}"
        )
    return 1 if open_in_image else 0


if __name__ == "__main__":
    sys.exit(main())
