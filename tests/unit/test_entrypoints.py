"""What the images' entrypoints say and make before they start the servers, here stand-ins."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from triton_models.settings import REPOSITORY_ROOT

CONTAINER = REPOSITORY_ROOT / "deploy" / "container"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that stand in for the image's, with a server that ends at once."""
    folder = tmp_path / "programs"
    folder.mkdir()
    write_program(folder / "tritonserver", "exit 0")
    return folder


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def entrypoint(
    name: str, programs: Path, data: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_CACHE_DIR"}
    environment |= {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "MODEL_CACHE_DIR": str(data),
        "VECTORS_DIR": str(data),
    }
    return subprocess.run(
        [str(CONTAINER / name)],
        env=environment | variables,
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
    )


def test_a_cache_of_kernels_that_cannot_be_written_is_a_warning(
    programs: Path, tmp_path: Path
) -> None:
    # Below a file nobody can write, not even root.
    kernels = tmp_path / "file" / "kernels"
    kernels.parent.touch()
    ended = entrypoint("triton-entrypoint.sh", programs, tmp_path, TRITON_CACHE_DIR=str(kernels))
    assert ended.returncode == 0, ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if "TRITON_CACHE_DIR" in line)
    assert line.startswith(f"warning: TRITON_CACHE_DIR is {kernels}, which user {os.getuid()} ")
    assert "compiled again at each start, or not at all" in line


@pytest.mark.parametrize("folder", ["", "there", "not there yet"])
def test_a_cache_of_kernels_that_can_be_written_is_no_warning(
    folder: str, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    kernels = str(tmp_path / folder) if folder else ""
    ended = entrypoint("triton-entrypoint.sh", programs, tmp_path, TRITON_CACHE_DIR=kernels)
    assert ended.returncode == 0, ended.stderr
    assert "TRITON_CACHE_DIR" not in ended.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_pod_s_cache_of_kernels_belongs_to_the_user_of_its_servers(
    programs: Path, tmp_path: Path
) -> None:
    write_program(programs / "setpriv", "exit 0")
    kernels = tmp_path / "volume" / "kernels"
    for _ in range(2):
        entrypoint(
            "pod-entrypoint.sh", programs, tmp_path,
            TRITON_CACHE_DIR=str(kernels), MODEL_NAME="", ALLOW_ANONYMOUS="true",
        )  # fmt: skip
        assert (kernels.stat().st_uid, kernels.stat().st_gid) == (1000, 1000)
    assert kernels.parent.stat().st_uid == 0
