"""Commands that read standard input, each a process with a pipe, against a gateway on a port."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from tests.unit.gateway.protection_gateway import ANSWER, Server, running
from tests.unit.gateway.served_gateway import served

pytestmark = pytest.mark.slow  # each starts a process

PROMPT = "Wie bäckt man Brot?\nIn zwei Zeilen.\n"
"""Several lines, with a character of two bytes."""

STEERED = ("--trait", "sarcasm", "--scalar", "2")
SCALARS = ("--trait", "sarcasm", "--scalars", "-1,0,1")


@dataclass
class Gateway:
    """A running gateway and its address."""

    server: Server
    url: str

    async def persona(self, *arguments: str, given: bytes) -> tuple[int, str, str]:
        """Runs the command with a pipe as standard input; returns its status and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "persona_client.cli", *arguments, "--url", self.url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(given)
        return process.returncode or 0, out.decode(), err.decode()

    def prompts(self) -> list[Any]:
        """Returns what reached the model as prompts."""
        return [values["text_input"][0] for values in self.server.asked]


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    async with (
        running(monkeypatch) as server,
        served(server.app, Settings()) as port,
    ):
        yield Gateway(server, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("arguments", "answers"),
    [
        (("generate",), 1),
        (("generate", *STEERED), 1),
        (("compare", *SCALARS), 3),
        (("compare", "--steer", "sarcasm=2"), 2),
        (("sweep", *SCALARS), 3),
    ],
)
async def test_the_prompt_is_all_of_standard_input(
    gateway: Gateway, arguments: tuple[str, ...], answers: int, as_json: bool
) -> None:
    command, *options = arguments
    options += ["--json"] if as_json else []
    status, out, err = await gateway.persona(command, "-", *options, given=PROMPT.encode())
    assert (status, err) == (0, "")
    assert out.count(ANSWER.text) == answers
    assert gateway.prompts() == [PROMPT] * answers


async def test_without_a_dash_standard_input_is_left_alone(gateway: Gateway) -> None:
    status, out, _ = await gateway.persona("generate", "hi", given=PROMPT.encode())
    assert (status, out) == (0, ANSWER.text + "\n")
    assert gateway.prompts() == ["hi"]


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_chat_reads_a_line_for_each_turn(gateway: Gateway, as_json: bool) -> None:
    options = ["--json"] if as_json else []
    given = "hi\nwarum nicht süß?".encode()
    status, out, err = await gateway.persona("chat", *options, given=given)
    assert (status, err) == (0, "")
    lines = [json.loads(line)["response"] if as_json else line for line in out.splitlines()]
    assert lines == [ANSWER.text] * 2
    turns = [json.loads(values["messages"][0]) for values in gateway.server.asked]
    assert [each[-1]["content"] for each in turns] == ["hi", "warum nicht süß?"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "-"),
        ("generate", "-", "--json"),
        ("compare", "-", *SCALARS),
        ("sweep", "-", *SCALARS),
        ("chat",),
    ],
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("given", [b"caf\xe9\n", b"\xff\xfe"])
async def test_input_that_is_no_text_is_one_line_and_reaches_no_model(
    gateway: Gateway,
    arguments: tuple[str, ...],
    given: bytes,
    locale: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    said = await gateway.persona(*arguments, given=given)
    assert said == (1, "", "error: standard input is not UTF-8: convert it, as with iconv\n")
    assert gateway.server.asked == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "\udcff"),
        ("generate", "hi", "--system", "\udcff"),
        ("compare", "\udcff", *SCALARS),
        ("sweep", "\udcff", *SCALARS),
    ],
)
async def test_an_argument_that_is_no_text_is_one_line(
    gateway: Gateway, arguments: tuple[str, ...]
) -> None:
    status, out, err = await gateway.persona(*arguments, given=b"")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: an argument is not UTF-8: ")
    assert gateway.server.asked == []


async def test_an_output_that_cannot_have_all_characters_says_how_it_can(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("süß?", encoding="utf-8")
    status, _, err = await gateway.persona("sweep", "--prompts", str(prompts), *SCALARS, given=b"")
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("error: the output is ascii and cannot have all characters: ")


async def test_a_typed_line_that_is_no_text_leaves_the_chat_going(gateway: Gateway) -> None:
    terminal, keyboard = os.openpty()
    os.write(terminal, b"caf\xe9\nhi\n/quit\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "persona_client.cli", "chat", "--url", gateway.url),
        stdin=keyboard,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    os.close(keyboard)
    os.close(terminal)
    assert process.returncode == 0
    assert b"error: the line is not UTF-8: type it again\n" in err
    (values,) = gateway.server.asked
    assert [turn["content"] for turn in json.loads(values["messages"][0])] == ["hi"]


async def test_a_key_that_is_no_text_is_one_line(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONA_API_KEY", "schlüssel")
    said = await gateway.persona("generate", "hi", given=b"")
    assert said == (1, "", "error: a key has ASCII characters only: check PERSONA_API_KEY\n")


@pytest.mark.parametrize(
    "command", ["generate -", "compare - --trait sarcasm", "sweep - --trait sarcasm", "chat"]
)
async def test_standard_input_that_is_closed_is_one_line(command: str, gateway: Gateway) -> None:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m persona_client.cli {command} --url {gateway.url} <&-",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err == b"error: standard input is closed: there is nothing to read\n"
