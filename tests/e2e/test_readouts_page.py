"""The examples of docs/readouts.md give what they show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from launcher.settings import ROOT
from launcher.stack import Stack
from tests.e2e.examples import blocks, check_command, comparable, console_examples, on_ports_of

PAGE = (ROOT / "docs" / "readouts.md").read_text()


def test_the_command_gives_what_it_shows(stack: Stack) -> None:
    ((command, output),) = console_examples(PAGE)
    check_command(stack.settings, command, output)


def test_the_program_runs(stack: Stack, tmp_path: Path) -> None:
    (block,) = blocks(PAGE, "python")
    script = tmp_path / "example.py"
    script.write_text(on_ports_of(stack.settings, block))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    *tokens, summary = done.stdout.splitlines()
    assert len(tokens) > 10
    assert summary.startswith("{'sarcasm': {1: ")


def test_the_events_say_what_they_show(api: httpx.Client) -> None:
    """Which pieces are joined to one event depends on who is faster."""
    shown = pieces(PAGE)
    body = {
        "prompt": "Tell me about quantum computing.",
        "trait": "sarcasm",
        "scalar": 2,
        "temperature": 0,
        "max_tokens": 3,
        "stream": True,
        "monitor": ["sarcasm"],
        "monitor_tokens": True,
    }
    text = api.post("/api/v1/generate", json=body).text
    sent = pieces(text)
    for name in ("turn_readouts", "token_readouts"):
        assert all_of(name, shown)
        assert comparable(all_of(name, shown)) == comparable(all_of(name, sent))


def pieces(text: str) -> list[dict[str, Any]]:
    """Returns the data of the `chunk` events in a text."""
    _, *parts = text.split("event: chunk\ndata: ")
    return [json.loads(part.splitlines()[0]) for part in parts]


def all_of(name: str, said: list[dict[str, Any]]) -> list[Any]:
    return [each for data in said for each in data.get(name, ())]
