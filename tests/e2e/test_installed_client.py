"""The client as an application has it: a wheel, installed into an environment of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.stack import Stack
from tests.e2e.examples import blocks, on_ports_of
from triton_models.settings import REPOSITORY_ROOT

pytestmark = pytest.mark.timeout(900)  # what is installed may have to be downloaded

NO_SOURCES = shutil.ignore_patterns(".*", "data", "tests", "runs", "build", "*.egg-info")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the built wheel and what it needs."""
    folder = tmp_path_factory.mktemp("application")
    # From a copy, since an older build leaves files beside the sources that get into a wheel.
    sources = folder / "sources"
    shutil.copytree(REPOSITORY_ROOT, sources, symlinks=True, ignore=NO_SOURCES)
    pip = (sys.executable, "-m", "pip", "--quiet")
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(sources)], check=True)
    (wheel,) = folder.glob("*.whl")
    python = folder / "environment" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "environment")], check=True)
    subprocess.run([str(python), "-m", "pip", "--quiet", "install", str(wheel)], check=True)
    return python


def run(*command: str | Path, folder: Path) -> tuple[int, str, str]:
    """Runs a program where nothing is known of this checkout; returns its status and output."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_the_readme_s_example_runs(stack: Stack, python: Path, tmp_path: Path) -> None:
    page = (REPOSITORY_ROOT / "README.md").read_text()
    (example,) = (each for each in blocks(page, "python") if "persona_client" in each)
    (tmp_path / "example.py").write_text(on_ports_of(stack.settings, example))
    status, out, err = run(python, "example.py", folder=tmp_path)
    assert (status, err) == (0, "")
    assert re.match(r".+\n.+\n\{'sarcasm': \{1: .+\nbaseline ", out), out
    scores = json.loads(out.splitlines()[-1])
    assert len(scores) == 3
    assert scores == sorted(scores)


def test_the_command_is_installed(stack: Stack, python: Path, tmp_path: Path) -> None:
    persona, url = python.with_name("persona"), stack.settings.gateway_url
    status, out, err = run(persona, "generate", "Say hello.", "--url", url, folder=tmp_path)
    assert (status, err) == (0, "")
    assert out.strip()


@pytest.mark.parametrize("name", ["client", "demo", "embedded", "research"])
def test_no_package_has_a_name_that_others_may_have(
    python: Path, tmp_path: Path, name: str
) -> None:
    status, _, err = run(python, "-c", f"import {name}", folder=tmp_path)
    assert status == 1
    assert err.endswith(f"ModuleNotFoundError: No module named '{name}'\n")
    assert run(python, "-c", f"import persona_{name}", folder=tmp_path) == (0, "", "")
