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


@pytest.mark.parametrize(
    "block", [each for each in blocks(README, "python") if "persona_client" not in each]
)
def test_a_python_example_runs(stack: Stack, tmp_path: Path, block: str) -> None:
    """The client's own runs in test_installed_client.py."""
    (tmp_path / "example.py").write_text(on_ports_of(stack.settings, block))
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "quantum computing" in done.stdout
