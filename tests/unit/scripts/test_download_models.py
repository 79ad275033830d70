"""The script that fetches models does so from where it is told, and says truly why it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.loopback import free_ports
from tests.unit.scripts.model_hub import (
    COMMIT,
    MODEL,
    OLD_COMMIT,
    ModelHub,
    make_certificate,
    model_hub,
)
from triton_models.model.errors import ModelMissingError
from triton_models.model.folder import find_model
from triton_models.settings import REPOSITORY_ROOT, ServerSettings

pytestmark = pytest.mark.slow  # each starts the script a few times

NAMES = ("PROXY", "HF_", "SSL_", "MODEL_", "REQUESTS_")
Hub = tuple[ModelHub, str]


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub, and its address."""
    with model_hub() as running:
        yield running


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "scripts.download_models", *arguments]


def environment(**variables: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not any(each in name.upper() for each in NAMES)
    }
    return {**kept, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_ETAG_TIMEOUT": "5", **variables}


def fetch(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(command(*arguments), **variables)


def run(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env=environment(**variables),
        cwd=REPOSITORY_ROOT,
        capture_output=True,
        text=True,
    )


def said(ended: subprocess.CompletedProcess[str]) -> str:
    """Returns the script's one line of complaint."""
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("download_models: "))
    return line.removeprefix("download_models: ")


def test_a_model_comes_from_the_hub_that_is_named_at_the_revision_that_is_named(
    hub: Hub, tmp_path: Path
) -> None:
    _, address = hub
    for arguments, commit in (((), COMMIT), (("--revision", OLD_COMMIT), OLD_COMMIT)):
        ended = fetch(MODEL, "--cache", str(tmp_path), *arguments, HF_ENDPOINT=address)
        assert ended.returncode == 0, ended.stderr
        folder = Path(ended.stdout.partition(" -> ")[2].strip())
        assert (folder / "model.safetensors").read_bytes() == commit.encode() * 50_000


def test_the_revision_of_the_environment_is_the_one_that_is_fetched_and_served(
    hub: Hub, tmp_path: Path
) -> None:
    variables = {"MODEL_REVISION": OLD_COMMIT, "MODEL_CACHE_DIR": str(tmp_path)}
    assert fetch(MODEL, HF_ENDPOINT=hub[1], **variables).returncode == 0
    assert ServerSettings.read(variables).model_revision == OLD_COMMIT
    with pytest.raises(ModelMissingError, match=f"fetch it with .* --revision {COMMIT}"):
        find_model(ServerSettings(model_name=MODEL, model_revision=COMMIT, model_cache=tmp_path))
    # It is found, and then refused: what the stand-in has is no model.
    with pytest.raises(Exception, match=r"config\.json"):
        find_model(
            ServerSettings(model_name=MODEL, model_revision=OLD_COMMIT, model_cache=tmp_path)
        )


def test_one_revision_for_two_models_is_refused(tmp_path: Path) -> None:
    ended = fetch(MODEL, "team/other", "--revision", COMMIT, "--cache", str(tmp_path))
    assert said(ended) == "a revision belongs to one model: fetch them one by one"


def test_a_proxy_is_asked_and_exceptions_from_it_are_kept(hub: Hub, tmp_path: Path) -> None:
    state, proxy = hub
    variables = {"HF_ENDPOINT": "http://hub.invalid", "HTTP_PROXY": proxy}
    ended = fetch(MODEL, "--cache", str(tmp_path), **variables)
    assert ended.returncode == 0, ended.stderr
    assert all(" http://hub.invalid/" in each for each in state.asked)
    state.asked.clear()
    around = fetch(MODEL, "--cache", str(tmp_path / "b"), **variables, NO_PROXY="hub.invalid")
    assert "the hub cannot be reached" in said(around)
    assert not state.asked


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_certificate_authority_of_one_s_own_is_believed(tmp_path: Path) -> None:
    with model_hub(make_certificate(tmp_path)) as (_, address):
        cache = ("--cache", str(tmp_path / "models"))
        refused = fetch(MODEL, *cache, HF_ENDPOINT=address)
        assert "CERTIFICATE_VERIFY_FAILED" in said(refused)
        believed = fetch(
            MODEL, *cache, HF_ENDPOINT=address, SSL_CERT_FILE=str(tmp_path / "certificate.pem")
        )
        assert believed.returncode == 0, believed.stderr


def test_a_hub_that_cannot_be_reached_is_called_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    line = said(fetch(MODEL, "--cache", str(tmp_path), HF_ENDPOINT=address))
    assert line.startswith(f"the hub cannot be reached at {address}")
    assert "Connection refused" in line


def test_what_the_hub_does_not_have_or_refuses_is_called_so(hub: Hub, tmp_path: Path) -> None:
    state, address = hub
    cache = ("--cache", str(tmp_path))
    missing = fetch("team/nothing", *cache, HF_ENDPOINT=address)
    assert said(missing) == "the hub has no model team/nothing: check its name"
    revision = fetch(MODEL, *cache, "--revision", "never", HF_ENDPOINT=address)
    assert f"the hub's {MODEL} has no revision never" in said(revision)
    unnamed = fetch("no id/at all", *cache, HF_ENDPOINT=address)
    assert "is not a hub id such as" in said(unnamed)
    state.refusal = 451
    assert f"the hub refuses {MODEL} with status 451" in said(
        fetch(MODEL, *cache, HF_ENDPOINT=address)
    )


bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


@bwrap
def test_a_full_disk_is_called_so(hub: Hub, tmp_path: Path) -> None:
    state, address = hub
    state.files[COMMIT]["model.safetensors"] = bytes(3 * 2**20)
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["bwrap", "--dev-bind", "/", "/", "--size", str(2**20), "--tmpfs", str(disk)]
    line = said(run([*small, *command(MODEL, "--cache", str(disk))], HF_ENDPOINT=address))
    assert line.startswith(f"the disk of {disk} is full")


@bwrap
@pytest.mark.parametrize("bind", ["--ro-bind", "--bind"])
def test_a_folder_that_may_not_be_written_is_called_so(bind: str, hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir(mode=0o555)
    # Nobody has no rights there; root on a read-only mount has none, either.
    user = [] if bind == "--ro-bind" else ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    barred = ["bwrap", "--dev-bind", "/", "/", bind, str(folder), str(folder), *user]
    if user and os.geteuid() == 0:
        barred += ["--cap-drop", "ALL"]
    line = said(run([*barred, *command(MODEL, "--cache", str(folder))], HF_ENDPOINT=hub[1]))
    assert "may not write to" in line
    assert str(folder) in line


def test_who_waits_fetches_nothing_and_sees_only_a_whole_model(hub: Hub, tmp_path: Path) -> None:
    state, address = hub
    cache = ("--cache", str(tmp_path), "--revision", COMMIT)
    absent = fetch(MODEL, *cache, "--wait", "0", HF_ENDPOINT=address)
    assert f"{MODEL} at {COMMIT} is not in {tmp_path} after 0 s" in said(absent)
    assert not state.asked
    ended = fetch(MODEL, *cache, HF_ENDPOINT=address)
    assert ended.returncode == 0
    weights = Path(ended.stdout.partition(" -> ")[2].strip()) / "model.safetensors"
    assert fetch(MODEL, *cache, "--wait", "0").returncode == 0
    weights.unlink()
    assert "is not in" in said(fetch(MODEL, *cache, "--wait", "0"))


@bwrap
def test_who_waits_needs_no_right_to_write(hub: Hub, tmp_path: Path) -> None:
    cache = ("--cache", str(tmp_path), "--revision", COMMIT)
    assert fetch(MODEL, *cache, HF_ENDPOINT=hub[1]).returncode == 0
    read_only = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(tmp_path), str(tmp_path)]
    ended = run([*read_only, *command(MODEL, *cache, "--wait", "0")])
    assert ended.returncode == 0, ended.stderr


def test_a_waiter_goes_on_once_somebody_else_has_fetched(hub: Hub, tmp_path: Path) -> None:
    arguments = (MODEL, "--cache", str(tmp_path), "--revision", COMMIT)
    waiting = subprocess.Popen(
        command(*arguments, "--wait", "600"),
        env=environment(),
        cwd=REPOSITORY_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert fetch(*arguments, HF_ENDPOINT=hub[1]).returncode == 0
        assert waiting.wait(timeout=120) == 0
