"""How a command talks to a server: what it is given, and how it fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import TextIO

import httpx
import typer

from persona_client.cli import exits, output
from persona_client.errors import PersonaError
from persona_client.rest import PersonaClient


def call(url: str, run: Callable[[PersonaClient], None]) -> None:
    """Runs a command against the server; a failure is one line and exit status 1."""
    try:
        with PersonaClient(url) as client:
            run(client)
    except (PersonaError, httpx.InvalidURL) as error:
        exits.fail(str(error))
    except UnicodeError as error:
        exits.fail(_what_is_no_text(error))
    except KeyboardInterrupt:
        # The stream has been closed on the way here, so the server has stopped generating.
        output.write("\n")
        raise typer.Exit(exits.INTERRUPTED) from None


def call_with_prompt(url: str, prompt: str, run: Callable[[PersonaClient, str], None]) -> None:
    """Runs a command about a prompt as `call` does; the prompt `-` is read from standard input."""

    def run_with_text(client: PersonaClient) -> None:
        # Here and nowhere else: standard input can be read once.
        run(client, standard_input().read() if prompt == "-" else prompt)

    call(url, run_with_text)


def standard_input() -> TextIO:
    """Returns standard input; that it is closed is one line and exit status 1."""
    if sys.stdin is None:
        exits.fail("standard input is closed: there is nothing to read")
    if isinstance(sys.stdin, TextIOWrapper):
        # In the C locale what is no text would pass, and fail only where the request is written.
        sys.stdin.reconfigure(errors="strict")
    return sys.stdin


def _what_is_no_text(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"standard input is not {error.encoding.upper()}: convert it, as with iconv"
    if isinstance(error, UnicodeEncodeError) and "surrogates" not in error.reason:
        return f"the output is {error.encoding} and cannot have all characters: set PYTHONUTF8=1"
    return "an argument is not UTF-8: type it, or convert it, in a terminal whose text is UTF-8"
