"""What the images are built from: nothing secret gets in, and all that is copied is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.utils.build import exclude_paths
from packaging.requirements import Requirement

from tests.unit.deploy.deployed_settings import kernel_cache, start_seconds
from tests.unit.deploy.health_check import exit_codes
from triton_models.settings import REPOSITORY_ROOT

DOCKERFILE = REPOSITORY_ROOT / "Dockerfile.triton"
LOCKS = REPOSITORY_ROOT / "deploy" / "requirements"
CUDAS = ("12", "13")
LOCKED = [
    "gateway",
    *(f"{image}-cuda{cuda}" for image in ("triton", "pod") for cuda in CUDAS),
]
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
            for source in sources:
                if "${CUDA}" in source:
                    yield from (source.replace("${CUDA}", cuda) for cuda in CUDAS)
                else:
                    yield source


def stage(name: str) -> str:
    """Returns the instructions of one stage, one on each line."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    found = re.search(rf"^FROM \S+ AS {name}$(.*?)(?=^FROM |\Z)", text, re.M | re.S)
    assert found
    return found[1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree as a developer has it, with all that must stay out of an image."""
    for folder in ("gateway", "launcher", "triton_models", "model_repository", "deploy"):
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


def test_kernels_can_be_compiled_and_are_kept_on_a_volume_of_the_servers_user() -> None:
    text, folder = stage("triton"), kernel_cache()
    (install,) = re.findall(r"^RUN apt-get update (.*)$", text, re.M)
    assert {"gcc", "libc6-dev", "python3-dev", "python3-venv"} <= set(install.split())
    assert "--no-install-recommends" in install
    assert install.endswith("rm -rf /var/lib/apt/lists/*")
    assert f"install --directory --owner=1000 --group=1000 {folder}\n" in text
    assert re.search(rf'^VOLUME \[.*"{folder}".*\]$', text, re.M)
    assert re.search(rf"\bTRITON_CACHE_DIR={folder} ", text)


def test_the_pages_say_where_compiled_kernels_are_kept() -> None:
    variables, containers, kubernetes, runpod = (
        (REPOSITORY_ROOT / path).read_text()
        for path in (
            "docs/configuration.md",
            "docs/containers.md",
            "docs/kubernetes.md",
            "deploy/runpod/README.md",
        )
    )
    folder = kernel_cache()
    (row,) = re.findall(r"^\| `TRITON_CACHE_DIR` \|.*$", variables, re.M)
    assert f"`{folder}`" in row
    runs = re.findall(r"^docker run (?:.*\\\n)*.*$", containers, re.M)
    (server,) = (run for run in runs if "--name triton " in run)
    assert f" -v persona-kernels:{folder} " in server
    assert f"`TRITON_CACHE_DIR` (`{folder}`" in containers
    assert f"at `{folder}`" in kubernetes
    assert "`/data/kernels`" in runpod


def test_triton_s_images_run_the_supervisor_and_the_servers_from_one_environment() -> None:
    for name in ("triton", "pod"):
        assert "/opt/venv/bin/python3 -m pip install" in stage(name)
        assert not re.search(r"PIP_BREAK_SYSTEM_PACKAGES|ignore-installed", stage(name))
        assert f"deploy/requirements/{name}-cuda${{CUDA}}.txt" in stage(name)
        assert "\nARG CUDA=13\n" in stage(name)
    # What the supervisor starts, and Triton's Python processes, are found through PATH.
    assert "\nENV PATH=/opt/venv/bin:$PATH " in stage("triton")
    assert 'ENTRYPOINT ["python3", "-m", "launcher", "triton"]\n' in stage("triton")
    assert 'ENTRYPOINT ["python3", "-m", "launcher"]\n' in stage("pod")
    for name in ("triton", "pod"):
        assert not re.search(r"^(CMD|SHELL)", stage(name), re.M)


def test_only_the_supervisor_s_port_and_those_for_gateways_are_declared() -> None:
    assert "\nEXPOSE 8001 8002 8004\n" in stage("triton")
    assert "STATUS_HOST=0.0.0.0 STATUS_PORT=8004 " in stage("triton")
    assert "TRITON_HOST=0.0.0.0 " in stage("triton")
    assert "TRITON_HOST=127.0.0.1 " in stage("pod")
    assert "TRITON_HTTP" not in DOCKERFILE.read_text()


@pytest.mark.parametrize(
    ("image", "variable", "path"),
    [("triton", "STATUS_PORT", "/live"), ("gateway", "PORT", "/health")],
)
def test_the_health_check_asks_whether_the_process_is_alive_and_no_proxy(
    image: str, variable: str, path: str
) -> None:
    # Whoever kills what is not healthy must let it wait for its model.
    (form,) = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", stage(image), re.M)
    _, *arguments = json.loads(form)
    assert exit_codes(arguments, variable, path) == [0, 1, 1]


def test_a_model_may_take_as_long_to_load_as_the_health_check_waits() -> None:
    (minutes,) = re.findall(r"^HEALTHCHECK .*--start-period=(\d+)m ", stage("triton"), re.M)
    assert start_seconds() == int(minutes) * 60


@pytest.mark.parametrize("lock", LOCKED)
def test_the_locked_requirements_are_those_of_the_project(lock: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((REPOSITORY_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    image, _, cuda = lock.partition("-")
    used = {
        "triton": ["server", "triton-client"],
        "gateway": ["gateway", "telemetry", "triton-client"],
        "pod": ["server", "gateway", "telemetry", "triton-client"],
    }[image]
    pins = [*project["dependencies"], *(pin for extra in used for pin in extras[extra])]
    locked = dict(re.findall(r"^(\S+)==(\S+)", (LOCKS / f"{lock}.txt").read_text(), re.M))
    for pin in pins:
        requirement = Requirement(pin)
        name = requirement.name.replace("_", "-").lower()
        if name == "persona-triton" or (name == "torch" and cuda == "cuda12"):
            continue
        assert locked.get(name, "0") in requirement.specifier, (
            f"{pin}: ./scripts/lock_requirements.sh"
        )


@pytest.mark.parametrize("image", ["triton", "pod"])
def test_the_two_cudas_differ_in_what_needs_them_only(image: str) -> None:
    older, newer = (
        dict(re.findall(r"^(\S+)==(\S+)", (LOCKS / f"{image}-cuda{cuda}.txt").read_text(), re.M))
        for cuda in CUDAS
    )
    differing = {name for name in older.keys() | newer.keys() if older.get(name) != newer.get(name)}
    assert {"torch", "triton"} <= differing
    assert all(name in ("torch", "triton") or "cuda" in name or "nvidia" in name
               for name in differing)  # fmt: skip
    assert older["nvidia-cuda-runtime-cu12"].startswith("12.")
    assert newer["nvidia-cuda-runtime"].startswith("13.")


@pytest.mark.parametrize("lock", LOCKED)
def test_every_locked_requirement_has_hashes_and_no_address(lock: str) -> None:
    text = (LOCKS / f"{lock}.txt").read_text()
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
