"""What an application gets when it installs the client, and what it need not have for it."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings
from tests.e2e.examples import blocks
from tests.installed_client import elsewhere, install_client
from tests.unit.gateway.protection_gateway import ANSWER, running
from tests.unit.gateway.served_gateway import served
from triton_models.settings import REPOSITORY_ROOT

# What is installed may have to be downloaded.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LIBRARY_ALONE = """
import importlib.metadata, pkgutil, re, sys

def needed(name):
    yield name.replace("-", "_")
    for each in importlib.metadata.requires(name) or ():
        if ";" not in each:
            yield from needed(re.split("[^A-Za-z0-9_.-]", each)[0])

AVAILABLE = {"persona_client", *needed("httpx"), *sys.stdlib_module_names}

class Refusal:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in AVAILABLE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusal)
import persona_client
for module in pkgutil.iter_modules(persona_client.__path__, "persona_client."):
    if module.name not in ("persona_client.cli", "persona_client.triton"):
        importlib.import_module(module.name)
"""


def imported(more: str = "") -> subprocess.CompletedProcess[str]:
    """Imports the library where there is nothing but Python and httpx, and then more."""
    return subprocess.run(
        [sys.executable, "-c", LIBRARY_ALONE + more], capture_output=True, text=True
    )


def test_the_library_needs_httpx_and_nothing_else() -> None:
    done = imported()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "missing"), [("persona_client.cli.app", "typer"), ("persona_client.triton", "numpy")]
)
def test_the_command_and_the_triton_client_need_more(module: str, missing: str) -> None:
    done = imported(f"import {module}")
    assert done.stderr.endswith(f"No module named {missing!r}\n")


TOKEN = {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": []}
MEASURED = dataclasses.replace(ANSWER, logprobs=(TOKEN,), readouts={"sarcasm": {"1": 2.5}})


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an application that has installed the client and nothing else."""
    return install_client(tmp_path_factory.mktemp("application"))


async def run(*command: str | Path, folder: Path) -> tuple[int, str, str]:
    """Runs a program in a folder; returns its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=elsewhere(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_the_readme_s_example_runs_where_the_client_is_installed(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example, *_) = blocks((REPOSITORY_ROOT / "README.md").read_text(), "python")
    async with running(monkeypatch, MEASURED) as server, served(server.app, Settings()) as port:
        (tmp_path / "example.py").write_text(example.replace(":8000", f":{port}"))
        status, out, err = await run(python, "example.py", folder=tmp_path)
    assert (status, err) == (0, "")
    assert out.startswith(
        f"{ANSWER.text}\n{ANSWER.text}{{'sarcasm': {{1: 2.5}}}} {{}} ()\nbaseline"
    )
    assert out.endswith("[2.5, 2.5, 2.5]\n")


async def test_the_command_is_installed(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(monkeypatch) as server, served(server.app, Settings()) as port:
        url = f"http://127.0.0.1:{port}"
        persona = python.with_name("persona")
        done = await run(persona, "generate", "hi", "--url", url, folder=tmp_path)
    assert done == (0, ANSWER.text + "\n", "")


async def test_no_package_has_a_name_that_others_may_have(python: Path, tmp_path: Path) -> None:
    for name in ("client", "demo", "embedded", "research"):
        status, _, err = await run(python, "-c", f"import {name}", folder=tmp_path)
        assert (status, err.splitlines()[-1:]) == (
            1,
            [f"ModuleNotFoundError: No module named '{name}'"],
        )
        status, _, err = await run(python, "-c", f"import persona_{name}", folder=tmp_path)
        assert (status, err) == (0, "")
