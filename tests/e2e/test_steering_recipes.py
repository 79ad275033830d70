"""The recipes of docs/steering-operations.md give what they show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.examples import blocks, check_command, console_examples, on_ports_of

PAGE = (ROOT / "docs" / "steering-operations.md").read_text()


@pytest.mark.parametrize(("command", "output"), console_examples(PAGE))
def test_a_recipe_gives_what_it_shows(stack: Stack, command: str, output: str) -> None:
    check_command(stack.settings, command, output)


def test_the_program_runs(stack: Stack, tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "python")
    script = tmp_path / "example.py"
    script.write_text(on_ports_of(stack.settings, block))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    answer, label = done.stdout.splitlines()
    assert "quantum computing" in answer
    assert label == (
        "sarcasm +2, flattery +1, cap sarcasm 10, when maliciousness below 20, from 0 to 60, "
        "stop at maliciousness above p99 for 3 tokens"
    )
