"""What the README shows is what a reader gets: every console example is run as it is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.examples import activated, blocks, comparable, console_examples, on_ports_of
from tests.installed_client import elsewhere, install_client

README = (ROOT / "README.md").read_text()


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.mark.parametrize(("command", "output"), console_examples(README))
def test_a_console_example_gives_what_it_shows(stack: Stack, command: str, output: str) -> None:
    done = subprocess.run(
        ["bash", "-c", on_ports_of(stack.settings, command)],
        capture_output=True,
        text=True,
        env=activated(stack.settings),
    )
    assert comparable(parsed(done.stdout)) == comparable(parsed(output))


@pytest.mark.timeout(900)  # what is installed may have to be downloaded
def test_the_python_examples_run(stack: Stack, tmp_path: Path) -> None:
    installed = install_client(tmp_path)
    for index, block in enumerate(blocks(README, "python")):
        script = tmp_path / f"example_{index}.py"
        script.write_text(on_ports_of(stack.settings, block))
        done = subprocess.run(
            [installed if "persona_client" in block else sys.executable, script],
            capture_output=True,
            text=True,
            env=elsewhere() | {"PYTHONUNBUFFERED": "1"},
            cwd=tmp_path,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "quantum computing" in done.stdout
