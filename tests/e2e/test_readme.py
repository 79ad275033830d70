"""What the README shows is what a reader gets: every console example is run as it is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.settings import ROOT, StackSettings
from launcher.stack import Stack

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def console_examples() -> list[tuple[str, str]]:
    """Returns each command of the console blocks with the output shown below it."""
    examples = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = part.splitlines()
            length = next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1
            examples.append(("\n".join(lines[:length]), "\n".join(lines[length:]).strip()))
    return examples


def on_ports_of(settings: StackSettings, text: str) -> str:
    """Replaces the documented ports by those of the tests' servers."""
    ports = {
        8000: settings.gateway_port,
        8001: settings.triton_grpc_port,
        8003: settings.triton_http_port,
    }
    for documented, port in ports.items():
        text = text.replace(f"localhost:{documented}", f"localhost:{port}")
    return text


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def comparable(value: Any) -> Any:
    """Leaves out what depends on earlier requests, or on the machine's rounding."""
    if isinstance(value, dict):
        left_out = ("reused_tokens", "num_reused_tokens")
        return {key: comparable(each) for key, each in value.items() if key not in left_out}
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, float):
        return pytest.approx(value, abs=1e-3)
    if isinstance(value, str):
        lines = [line.rstrip() for line in value.strip().splitlines()]
        return re.sub(r'"reused_tokens":\d+', "", "\n".join(lines))
    return value


@pytest.mark.parametrize(("command", "output"), console_examples())
def test_a_console_example_gives_what_it_shows(stack: Stack, command: str, output: str) -> None:
    activated = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PERSONA_URL": stack.settings.gateway_url,
    }
    done = subprocess.run(
        ["bash", "-c", on_ports_of(stack.settings, command)],
        capture_output=True,
        text=True,
        env=activated,
    )
    assert comparable(parsed(done.stdout)) == comparable(parsed(output))


def test_the_python_examples_run(stack: Stack, tmp_path: Path) -> None:
    for index, block in enumerate(blocks("python")):
        script = tmp_path / f"example_{index}.py"
        script.write_text(on_ports_of(stack.settings, block))
        python = os.environ | {"PYTHONUNBUFFERED": "1"}
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, env=python, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "quantum computing" in done.stdout


def test_the_answers_at_the_top_are_those_of_the_examples() -> None:
    answers = {
        row["scalar"]: row["response"]
        for _, output in console_examples()
        if isinstance(row := parsed(output), dict) and row.get("trait") == "sarcasm"
    }
    for scalar, answer in answers.items():
        assert f"| {scalar:g} | {answer} |" in README
    assert sorted(answers) == [-2.0, 0.0, 2.0]
