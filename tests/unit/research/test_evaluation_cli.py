"""The command that evaluates: wrong options, and what it needs, are said in a line."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from persona_client.cli.app import app


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["vectors", "evaluate", *arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sarcasm", "--scalars", "1,x"), "--scalars is '1,x'"),
        (("sarcasm", "--scalars", "1,inf"), "--scalars is '1,inf'"),
        (("sarcasm", "--layers", "most"), "--layers is 'most'"),
        (("sarcasm", "--questions", "-1"), "--questions"),
        (("sarcasm", "--unit", "prompt"), "--unit prompt is that of --scalars"),
        (("sarcasm", "--budget", "-0.1"), "--budget"),
        ((), "vector"),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: tuple[str, ...], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nobody",), "there is no vector of 'nobody'"),
        (("nowhere.json",), "nowhere.json: cannot be read"),
        (("sarcasm", "sarcasm"), "there are several vectors of sarcasm"),
        (("sarcasm", "--layers", "9"), "nothing at blocks [9]"),
        (("sarcasm", "--samples", "2"), "more than one sample needs a temperature"),
        (("sarcasm", "--model", "nowhere"), "nowhere"),
    ],
)
def test_an_error_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_matplotlib_one_line_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['matplotlib'] = None; from persona_client.cli.app import main; "
        "sys.argv = ['persona', 'vectors', 'evaluate', 'sarcasm']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs matplotlib" in done.stderr
    assert "pip install '.[research]'" in done.stderr
