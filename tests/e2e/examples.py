"""The examples of the documentation, to be run as a reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.settings import StackSettings

_DECIMAL = re.compile(r"-?\d+\.\d+")


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
    assert comparable(done.stdout) == comparable(output), done.stderr


def with_pieces_joined(text: str) -> str:
    """Returns a stream's text and what follows it: a busy machine sends several tokens at once."""
    pieces = re.findall(r"^event: chunk\ndata: (.*)$", text, re.M)
    rest = re.sub(r"^event: chunk\ndata: .*\n+", "", text, flags=re.M)
    return "".join(json.loads(piece)["text"] for piece in pieces) + rest


def comparable(value: Any) -> Any:
    """Leaves out what depends on earlier requests, and a last digit, which processors round."""
    if isinstance(value, dict):
        left_out = ("reused_tokens", "num_reused_tokens", "timings")
        return {key: comparable(each) for key, each in value.items() if key not in left_out}
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, float):
        return pytest.approx(value, abs=1e-3)
    if isinstance(value, str):
        lines = [line.rstrip() for line in with_pieces_joined(value.strip()).splitlines()]
        text = re.sub(r'"reused_tokens":\d+', "", "\n".join(lines))
        return _DECIMAL.sub("#", text), [_rounded(number) for number in _DECIMAL.findall(text)]
    return value


def _rounded(number: str) -> Any:
    last_digit = 10 ** -len(number.partition(".")[2])
    return pytest.approx(float(number), abs=max(1e-3, 1.01 * last_digit))
