"""The client as an application has it: a wheel, installed into an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from triton_models.settings import REPOSITORY_ROOT

_NO_SOURCES = shutil.ignore_patterns(".*", "data", "tests", "runs", "build", "*.egg-info")


def install_client(folder: Path) -> Path:
    """Builds the wheel, installs it with what it needs, and returns the environment's Python."""
    # From a copy, since an older build leaves files beside the sources that get into a wheel.
    sources = folder / "sources"
    shutil.copytree(REPOSITORY_ROOT, sources, symlinks=True, ignore=_NO_SOURCES)
    pip = (sys.executable, "-m", "pip", "--quiet")
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(sources)], check=True)
    (wheel,) = folder.glob("*.whl")
    python = folder / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "environment")], check=True)
    subprocess.run([str(python), "-m", "pip", "--quiet", "install", str(wheel)], check=True)
    return python


def elsewhere() -> dict[str, str]:
    """Returns the variables of a shell that knows nothing of this checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
