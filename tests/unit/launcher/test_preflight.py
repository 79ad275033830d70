"""What is made ready, refused and warned of before the servers start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import preflight
from launcher.errors import LaunchError
from triton_models.settings import REPOSITORY_ROOT


def test_a_cache_of_kernels_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    # Below a file nobody can write, not even root.
    kernels = tmp_path / "file" / "kernels"
    kernels.parent.touch()
    (line,) = (
        line
        for line in preflight.warnings({"TRITON_CACHE_DIR": str(kernels)})
        if "TRITON_CACHE_DIR" in line
    )
    assert line.startswith(f"TRITON_CACHE_DIR is {kernels}, which user {os.getuid()} cannot write")
    assert "compiled again at each start, or not at all" in line


@pytest.mark.parametrize("folder", ["", "there", "not there yet"])
def test_a_cache_of_kernels_that_can_be_written_is_no_warning(folder: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    kernels = str(tmp_path / folder) if folder else ""
    found = preflight.warnings({"TRITON_CACHE_DIR": kernels})
    assert not any("TRITON_CACHE_DIR" in line for line in found)


@pytest.mark.parametrize(
    ("file", "says"),
    [("", "does not exist"), ("a.txt", "has no vectors"), ("a/b.gguf", "")],
)
def test_a_folder_without_vectors_is_a_warning(file: str, says: str, tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    if file:
        (folder / file).parent.mkdir(parents=True)
        (folder / file).touch()
    found = [
        line
        for line in preflight.warnings({"VECTORS_DIR": str(folder)})
        if line.startswith("VECTORS_DIR")
    ]
    assert [line.split(":")[0] for line in found] == (
        [f"VECTORS_DIR is {folder}, which {says}"] if says else []
    )


def test_little_shared_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small:
        f_frsize, f_blocks = 4096, 64 * 2**20 // 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Small)
    (line,) = (line for line in preflight.warnings({}) if "shm" in line)
    assert line.startswith("/dev/shm has 64 MiB")
    assert "--shm-size 1g" in line


def test_a_pod_that_everybody_may_use_is_not_started_by_mistake(tmp_path: Path) -> None:
    closed = {"ALLOW_ANONYMOUS": "false"}
    with pytest.raises(LaunchError, match="set API_KEYS"):
        preflight.prepare(closed, with_gateway=True)
    preflight.prepare(closed, with_gateway=False)
    keys = tmp_path / "keys.json"
    keys.write_text("[]")
    preflight.prepare({**closed, "API_KEYS_FILE": str(keys)}, with_gateway=True)
    preflight.prepare({"ALLOW_ANONYMOUS": "true"}, with_gateway=True)


def serve_as(user: int, tmp_path: Path, program: str, **folders: Path) -> str:
    """Returns what a program prints once the launcher has become a user."""
    # Who that is has to get there.
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    prepare = "import os; from launcher import preflight; "
    prepare += "preflight.prepare(os.environ, with_gateway=False); "
    variables = {name: str(folder) for name, folder in folders.items()}
    ended = subprocess.run(
        [sys.executable, "-c", prepare + program],
        cwd=REPOSITORY_ROOT,
        env={**os.environ, "SERVE_AS": str(user), **variables},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_where_it_starts_as_root_folders_are_given_away_and_rights_dropped(
    tmp_path: Path,
) -> None:
    vectors, cache = tmp_path / "volume" / "vectors", tmp_path / "volume" / "cache"
    program = (
        "open(os.environ['VECTORS_DIR'] + '/mine', 'w').close(); "
        "print(os.getuid(), os.getgid(), os.getgroups()); "
        "print([line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')])"
    )
    printed = serve_as(1000, tmp_path, program, VECTORS_DIR=vectors, TRITON_CACHE_DIR=cache)
    assert printed.splitlines() == ["1000 1000 []", "['NoNewPrivs:\\t1\\n']"]
    for folder in (vectors, cache):
        assert (folder.stat().st_uid, folder.stat().st_gid) == (1000, 1000)
    assert (vectors / "mine").stat().st_uid == 1000
    assert vectors.parent.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_what_root_has_written_before_is_given_away_and_nothing_that_is_linked_to(
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    vectors, linked = tmp_path / "vectors", tmp_path / "linked"
    nested = vectors / "sarcasm" / "old"
    for folder in (nested, elsewhere):
        folder.mkdir(parents=True)
    for file in (vectors / "a.gguf", nested / "b.gguf", vectors / "somebody_s"):
        file.touch(mode=0o600)
    for name in ("file", "other"):
        (elsewhere / name).touch()
    os.chown(vectors, 1000, 1000)
    os.chown(vectors / "somebody_s", 1234, 1234)
    (nested / "folder").symlink_to(elsewhere)
    (nested / "file").symlink_to(elsewhere / "file")
    (nested / "other").hardlink_to(elsewhere / "other")
    linked.symlink_to(elsewhere)

    program = "os.rename(os.environ['VECTORS_DIR'] + '/sarcasm/old/b.gguf', "
    program += "os.environ['VECTORS_DIR'] + '/b.gguf')"
    serve_as(1000, tmp_path, program, VECTORS_DIR=vectors, TRITON_CACHE_DIR=linked)

    for path in (vectors / "a.gguf", vectors / "b.gguf", vectors / "sarcasm", nested):
        assert (path.stat().st_uid, path.stat().st_gid) == (1000, 1000), path
    assert (vectors / "somebody_s").stat().st_uid == 1234
    for path in (elsewhere, elsewhere / "file", elsewhere / "other"):
        assert path.stat().st_uid == 0, path


@pytest.mark.parametrize("variable", ["VECTORS_DIR", "MODEL_CACHE_DIR"])
def test_a_file_in_place_of_a_folder_is_refused(variable: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(LaunchError, match=rf"{variable} is {file}, which is no folder: name"):
        preflight.prepare({variable: str(file)}, with_gateway=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o300)
    with pytest.raises(LaunchError, match=r"VECTORS_DIR is .*, which user .* cannot read: mount"):
        preflight.prepare({"VECTORS_DIR": str(tmp_path)}, with_gateway=False)


def test_a_model_that_cannot_be_fetched_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    wanted = {"FETCH_MODEL": "true", "MODEL_CACHE_DIR": str(tmp_path)}
    preflight.prepare({**wanted, "MODEL_NAME": ""}, with_gateway=False)
    preflight.prepare({**wanted, "MODEL_NAME": str(tmp_path)}, with_gateway=False)
    assert asked == []
    with pytest.raises(LaunchError, match="the model a/b could not be fetched"):
        preflight.prepare({**wanted, "MODEL_NAME": "a/b"}, with_gateway=False)
    assert asked[0][-1] == "a/b"
