"""The examples of the documentation, to be run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from launcher.settings import StackSettings


def blocks(page: str, language: str) -> list[str]:
    """Returns a page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.M | re.S)


def console_examples(page: str) -> list[tuple[str, str]]:
    """Returns each command of a page's console blocks with the output shown below it."""
    examples = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            lines = part.splitlines()
            length = _command_length(lines)
            examples.append(("\n".join(lines[:length]), "\n".join(lines[length:]).strip()))
    return examples


def _command_length(lines: list[str]) -> int:
    """Returns how many lines belong to a command: those it continues in, or its here-document."""
    here_document = re.search(r"<<'(\w+)'", lines[0])
    if here_document:
        return lines.index(here_document[1]) + 1
    return next(i for i, line in enumerate(lines) if not line.endswith("\\")) + 1


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


def activated(settings: StackSettings) -> dict[str, str]:
    """Returns the variables of a shell in which the environment is active."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PERSONA_URL": settings.gateway_url,
    }


def check_command(settings: StackSettings, command: str, output: str) -> None:
    """Makes sure that a documented command prints what is shown below it."""
    done = subprocess.run(
        ["bash", "-c", on_ports_of(settings, command)],
        capture_output=True,
        text=True,
        env=activated(settings),
    )
    assert _lines(done.stdout) == _lines(output), done.stderr


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
