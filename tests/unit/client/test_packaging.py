"""What an application need not have installed to use the client."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
    ("module", "missing"), [("persona_client.cli.app", "typer"), ("persona_client.triton", "grpc")]
)
def test_the_command_and_the_triton_client_need_more(module: str, missing: str) -> None:
    done = imported(f"import {module}")
    assert done.stderr.endswith(f"No module named {missing!r}\n")
