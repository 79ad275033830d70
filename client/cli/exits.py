"""How a command ends that does not succeed."""

from __future__ import annotations

from typing import NoReturn

import typer

from persona_client.cli import output

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


def fail(message: str) -> NoReturn:
    """Prints what went wrong as one line and exits with status 1."""
    output.print_error(message)
    raise typer.Exit(1)


def fail_unless(success: bool) -> None:
    """Exits with status 1 if something failed that has been shown already."""
    if not success:
        raise typer.Exit(1)
