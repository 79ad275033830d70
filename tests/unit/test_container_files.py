"""What the images are built from: nothing secret gets in, and all that is copied is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths

from tests.unit.deployed_settings import kernel_cache
from triton_models.settings import REPOSITORY_ROOT

DOCKERFILE = REPOSITORY_ROOT / "Dockerfile.triton"
LOCKS = REPOSITORY_ROOT / "deploy" / "requirements"
SECRET = ["data/models/qwen/model.safetensors", "data/vectors/x.gguf", ".env", "keys.json"]
HIDDEN = ["gateway/.env", "gateway/a.key", "triton_models/model.safetensors", "gateway/tls.pem"]
USELESS = [
    "gateway/__pycache__/app.cpython-311.pyc",
    ".git/config",
    ".venv/bin/python",
    "tests/a.py",
]


def context_of(root: Path) -> set[str]:
    """Returns the files that a build of a folder sends to Docker."""
    patterns = [
        line
        for line in (REPOSITORY_ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return {path for path in exclude_paths(str(root), patterns) if (root / path).is_file()}


def copied_paths() -> Iterator[str]:
    """Yields what the Dockerfile copies from the build context."""
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE.read_text()).splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            *sources, _ = line.split()[1:]
            yield from sources


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree as a developer has it, with all that must stay out of an image."""
    for folder in ("gateway", "triton_models", "model_repository", "deploy"):
        shutil.copytree(REPOSITORY_ROOT / folder, tmp_path / folder)
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY_ROOT / "scripts" / "download_models.py", tmp_path / "scripts")
    for path in (*SECRET, *HIDDEN, *USELESS):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("secret")
    return tmp_path


def test_no_weights_no_secrets_and_nothing_useless_enter_an_image(root: Path) -> None:
    assert not context_of(root) & {*SECRET, *HIDDEN, *USELESS}


def test_everything_that_is_copied_is_in_the_context(root: Path) -> None:
    context = context_of(root)
    for source in copied_paths():
        inside = [path for path in context if path == source or path.startswith(f"{source}/")]
        assert inside, source


def test_the_context_is_code_only(root: Path) -> None:
    kinds = {Path(path).suffix for path in context_of(root)}
    assert kinds <= {".py", ".pbtxt", ".txt", ".sh", ".html", ".css", ".js", ".svg", ".typed", ""}
    assert sum((root / path).stat().st_size for path in context_of(root)) < 4 * 2**20


def test_the_images_run_as_a_user_without_rights_and_check_themselves() -> None:
    _, *stages = re.split(r"^FROM .* AS (?=triton$|gateway$)", DOCKERFILE.read_text(), flags=re.M)
    assert len(stages) == 2
    for stage in stages:
        final = stage.split("\nFROM ")[0]
        assert "\nUSER 1000:1000\n" in final
        assert "\nHEALTHCHECK " in final
        assert "\nSTOPSIGNAL SIGTERM\n" in final


def triton_stage() -> str:
    """Returns the instructions of the model server's image, one on each line."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    found = re.search(r"^FROM \S+ AS triton$(.*?)^FROM ", text, re.M | re.S)
    assert found
    return found[1]


def test_kernels_can_be_compiled_and_are_kept_on_a_volume_of_the_servers_user() -> None:
    stage, folder = triton_stage(), kernel_cache()
    (install,) = re.findall(r"^RUN apt-get update (.*)$", stage, re.M)
    assert {"gcc", "libc6-dev", "python3-dev"} <= set(install.split())
    assert "--no-install-recommends" in install
    assert install.endswith("rm -rf /var/lib/apt/lists/*")
    assert f"install --directory --owner=1000 --group=1000 {folder}\n" in stage
    assert re.search(rf'^VOLUME \[.*"{folder}".*\]$', stage, re.M)
    assert re.search(rf"\bTRITON_CACHE_DIR={folder} ", stage)


def test_the_pages_say_where_compiled_kernels_are_kept() -> None:
    readme, containers, kubernetes, runpod = (
        (REPOSITORY_ROOT / path).read_text()
        for path in (
            "README.md", "docs/containers.md", "docs/kubernetes.md", "deploy/runpod/README.md",
        )
    )  # fmt: skip
    folder = kernel_cache()
    (row,) = re.findall(r"^\| `TRITON_CACHE_DIR` \|.*$", readme, re.M)
    assert f"`{folder}`" in row
    runs = re.findall(r"^docker run (?:.*\\\n)*.*$", containers, re.M)
    (server,) = (run for run in runs if "--name triton " in run)
    assert f" -v persona-kernels:{folder} " in server
    assert f"`TRITON_CACHE_DIR` (`{folder}`" in containers
    assert f"at `{folder}`" in kubernetes
    assert "`/data/kernels`" in runpod


@pytest.mark.parametrize("image", ["triton", "gateway", "pod"])
def test_the_locked_requirements_are_those_of_the_project(image: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    used = {
        "triton": ["server"],
        "gateway": ["gateway", "telemetry", "triton-client"],
        "pod": ["server", "gateway", "telemetry", "triton-client"],
    }[image]
    pins = [*project["dependencies"], *(pin for extra in used for pin in extras[extra])]
    locked = dict(re.findall(r"^(\S+)==(\S+)", (LOCKS / f"{image}.txt").read_text(), re.M))
    for pin in pins:
        name, equals, version = pin.partition("==")
        if equals:
            normal = re.sub(r"\[.*\]", "", name).replace("_", "-").lower()
            assert locked.get(normal) == version, f"{pin}: run ./scripts/lock_requirements.sh"


@pytest.mark.parametrize("image", ["triton", "gateway", "pod"])
def test_every_locked_requirement_has_hashes_and_no_address(image: str) -> None:
    text = (LOCKS / f"{image}.txt").read_text()
    requirements = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert requirements
    assert all(line.endswith("\\") for line in requirements)
    assert not re.search(r"https?://|file:|index-url|find-links", text)


def test_the_dockerfile_has_no_warnings() -> None:
    subprocess.run(["hadolint", str(DOCKERFILE)], check=True)


def test_the_shell_scripts_have_no_warnings() -> None:
    scripts = [*REPOSITORY_ROOT.glob("scripts/*.sh"), *REPOSITORY_ROOT.glob("deploy/**/*.sh")]
    assert len(scripts) > 3
    command = ["shellcheck", "-x", "-P", "SCRIPTDIR", *map(str, scripts)]
    subprocess.run([*command, str(REPOSITORY_ROOT / ".ci" / "run")], check=True)
