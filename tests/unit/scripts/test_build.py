"""The script that builds the images, with stand-ins for docker and cosign that note their calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from triton_models.settings import REPOSITORY_ROOT

DIGEST = "sha256:" + "1" * 64
DOCKERFILE = (REPOSITORY_ROOT / "Dockerfile.triton").read_text()
TRITON, PYTHON = (
    re.findall(rf"^ARG {name}=(\S+)$", DOCKERFILE, re.M)[0]
    for name in ("TRITON_IMAGE", "PYTHON_IMAGE")
)
OTHER = "nvcr.io/nvidia/tritonserver:99.01-py3"


class Build:
    """A copy of what the script needs, and programs that it calls.

    Args:
        folder: Where they go.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.asked = folder / "asked"
        (self.root / "deploy" / "container").mkdir(parents=True)
        shutil.copy(REPOSITORY_ROOT / "Dockerfile.triton", self.root)
        self.script = self.root / "deploy" / "container" / "build.sh"
        shutil.copy(REPOSITORY_ROOT / "deploy" / "container" / "build.sh", self.script)
        self.lock = self.script.with_name("bases.env")
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.program("git", "echo 0123abc")
        self.program("docker", f'case "$*" in *inspect*) echo {DIGEST};; esac')

    def program(self, name: str, does: str) -> None:
        """Makes a program that writes down how it was called, and then does something."""
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >>{self.asked}\n{does}\n')
        path.chmod(0o755)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs the script; `asked` then has what it called."""
        self.asked.unlink(missing_ok=True)
        return subprocess.run(
            [str(self.script), *arguments],
            env={"PATH": f"{self.programs}:/usr/bin:/bin", **variables},
            capture_output=True,
            text=True,
        )

    def calls(self, of: str) -> list[str]:
        """Returns the calls of a program, or of a program's command."""
        if not self.asked.exists():
            return []
        return [line for line in self.asked.read_text().splitlines() if line.startswith(of)]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """The script and its surroundings."""
    return Build(tmp_path)


def test_a_base_is_looked_up_once_and_later_builds_use_it(build: Build) -> None:
    assert build.run().returncode == 0
    (inspected,) = build.calls("docker buildx imagetools inspect")
    assert TRITON in inspected
    assert f"TRITON_IMAGE={TRITON}@{DIGEST}\n" in build.lock.read_text()
    assert build.run().returncode == 0
    assert not build.calls("docker buildx imagetools inspect")
    builds = build.calls("docker buildx build")
    assert len(builds) == 3
    assert all(f"TRITON_IMAGE={TRITON}@{DIGEST}" in each for each in builds)


def test_a_base_that_is_chosen_is_used_for_that_build_alone(build: Build) -> None:
    assert build.run().returncode == 0
    locked = build.lock.read_text()
    assert build.run(TRITON_IMAGE=OTHER).returncode == 0
    builds = build.calls("docker buildx build")
    assert all(f"TRITON_IMAGE={OTHER}@{DIGEST}" in each for each in builds)
    assert build.lock.read_text() == locked


def test_a_lock_of_a_base_that_the_dockerfile_no_longer_names_is_renewed(build: Build) -> None:
    old = f"{OTHER}@sha256:{'2' * 64}"
    build.lock.write_text(f"TRITON_IMAGE={old}\nPYTHON_IMAGE=python:3@sha256:{'3' * 64}\n")
    assert build.run().returncode == 0
    assert f"{TRITON}@{DIGEST}" in build.lock.read_text()
    assert f"PYTHON_IMAGE={PYTHON}\n" in build.lock.read_text()


def test_a_registry_without_a_digest_ends_the_build(build: Build) -> None:
    build.program("docker", "echo nothing")
    ended = build.run()
    assert ended.returncode != 0
    assert "error: no digest for" in ended.stderr
    assert not build.calls("docker buildx build")


def test_what_is_pushed_says_how_it_was_built_and_what_is_in_it(build: Build) -> None:
    assert build.run("--push", "registry.example.com/team", "1.0").returncode == 0
    builds = build.calls("docker buildx build")
    assert len(builds) == 3
    for call in builds:
        assert "--provenance=mode=max --sbom=true" in call
        assert " --push " in call
        assert "--tag registry.example.com/team/persona-" in call


def test_what_is_signed_is_the_digest_that_was_pushed(build: Build) -> None:
    build.program("cosign", "")
    ended = build.run("--sign", "registry.example.com/team", "1.0", COSIGN_KEY="cosign.key")
    assert ended.returncode == 0, ended.stderr
    signed = build.calls("cosign")
    assert signed == [
        f"cosign sign --yes --key cosign.key registry.example.com/team/persona-{name}@{DIGEST}"
        for name in ("triton", "gateway", "pod")
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--push"], "error: name the registry to push to"),
        (["--sgin", "registry"], "error: --sgin is unknown"),
        (["--sign", "registry"], "error: --sign takes cosign"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_built(
    arguments: list[str], says: str, build: Build
) -> None:
    if os.path.exists("/usr/bin/cosign"):
        pytest.skip("cosign is installed")
    ended = build.run(*arguments)
    assert ended.returncode == 1
    assert ended.stderr.startswith(says)
    assert not build.calls("docker")
