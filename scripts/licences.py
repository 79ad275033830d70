#!/usr/bin/env python3
"""Writes docs/licences.md: the licence of every Python package that the images install.

The packages are those of deploy/requirements/*.txt. What is written down is what the index says of
each locked version; no package is installed. Run it after ./scripts/lock_requirements.sh.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from persona_research.markdown import markdown_table

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "deploy" / "requirements"
LIST = ROOT / "docs" / "licences.md"
PYTHON = "3.12"
"""For which the locks of most images are made; each version's metadata is the same for others."""

PIP = "pip==26.3"
"""Reads metadata without downloading packages, which the CUDA libraries make worth it."""

ALLOWED = {
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "PSF-2.0",
}
"""Licences that ask for no more than a notice."""

SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}
"""What packages write, and the SPDX identifier of what they mean; `BSD` has none."""

UNSTATED = "not stated"

EXPLAINED = {
    "certifi": "MPL-2.0: its files are used unchanged; changes to them would have to be published",
    "tqdm": "MPL-2.0 for a part: used unchanged, as certifi",
    "cuda-toolkit": "names no licence and holds no code: it only requires the CUDA libraries",
    "LicenseRef-NVIDIA-Proprietary": "NVIDIA's own terms: see above",
    "LicenseRef-NVIDIA-SOFTWARE-LICENSE": "NVIDIA's own terms: see above",
}
"""Why a package is there whose licence is not among those, by the package or by the licence."""


class Package(NamedTuple):
    """A locked package; its name is normalized as in PEP 503."""

    name: str
    version: str


def locked(lock: Path) -> dict[Package, set[str]]:
    """Returns the packages of a lock file, each with the SHA-256 of its files."""
    lines = lock.read_text().replace("\\\n", " ")
    return {
        Package(canonicalize_name(name), version): set(re.findall(r"sha256:(\w{64})", hashes))
        for name, version, hashes in re.findall(r"^([\w.-]+)==(\S+)(.*)", lines, re.MULTILINE)
    }


def licence_of(metadata: Mapping[str, Any]) -> str:
    """Returns the licence of a package's metadata, in SPDX's spelling where it is known.

    What says most comes first: the SPDX expression, the free text if it is a name, the classifiers.
    """
    stated = metadata.get("license_expression") or metadata.get("license") or ""
    if not stated or "\n" in stated:
        classifiers = [
            each.rpartition(" :: ")[2]
            for each in metadata.get("classifier", ())
            if each.startswith("License ::")
        ]
        stated = " OR ".join(SPELLINGS.get(each, each) for each in classifiers)
    return SPELLINGS.get(stated, stated) or UNSTATED


def terms(licence: str) -> set[str]:
    """Returns the licences that an SPDX expression of ANDs and ORs names."""
    return set(re.split(r" (?:AND|OR) ", licence))


def remark(name: str, licence: str) -> str:
    """Returns why a package is there whose licence is not allowed for all, or nothing."""
    return EXPLAINED.get(name) or EXPLAINED.get(licence, "")


def main() -> None:
    """Asks the index about all locked packages and writes the list."""
    images: dict[Package, list[str]] = {}
    licences: dict[Package, str] = {}
    for lock in sorted(LOCKS.glob("*.txt")):
        packages = locked(lock)
        for package, licence in _ask(packages):
            licences[package] = licence
            images.setdefault(package, []).append(lock.stem)
    rows = [
        [*each, licences[each], ", ".join(images[each]), remark(each.name, licences[each])]
        for each in sorted(licences)
    ]
    table = markdown_table(["package", "version", "licence", "images", "remark"], rows)
    LIST.write_text(f"{HEAD}\n{table}\n")
    print(f"{LIST.relative_to(ROOT)}: {len(rows)} packages")


def _ask(packages: Mapping[Package, set[str]]) -> Iterator[tuple[Package, str]]:
    """Yields each package's licence, as the index's metadata of a locked file has it."""
    command = [
        *("uv", "tool", "run", "--quiet", "--from", PIP, "pip", "install", "--quiet", "--dry-run"),
        *("--report", "-", "--no-deps", "--only-binary", ":all:", "--python-version", PYTHON),
        *("--target", "unused", *(f"{each.name}=={each.version}" for each in packages)),
    ]
    # No local configuration: it must be the public index's files, as in the locks.
    environment = {k: v for k, v in os.environ.items() if k != "PIP_FIND_LINKS"}
    environment["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    for each in json.loads(done.stdout)["install"]:
        metadata = each["metadata"]
        package = Package(canonicalize_name(metadata["name"]), metadata["version"])
        if each["download_info"]["archive_info"]["hashes"]["sha256"] not in packages[package]:
            sys.exit(f"{package}: the index's file is not the locked one")
        yield package, licence_of(metadata)


HEAD = """\
# Licences of the images' Python packages

Written by `python scripts/licences.py` from `deploy/requirements/*.txt` and the index's metadata of
each locked version; [supply-chain.md](supply-chain.md) says which licences are taken. A remark says
why a package is there whose licence is not one of those.

PyTorch needs NVIDIA's CUDA libraries on GPUs. They come under NVIDIA's own terms, which lie in
almost each package: whoever passes on an image that holds them passes the terms on as well.
"""


if __name__ == "__main__":
    main()
