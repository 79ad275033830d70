"""The `persona vectors` commands that change what a running server has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import httpx
import typer

from client import protocol, vectors_output
from client.errors import PersonaError
from client.rest import PersonaClient

Url = Annotated[str, typer.Option(help="Address of the gateway.", envvar="PERSONA_URL")]


def upload(
    file: Annotated[Path, typer.Argument(help="A .safetensors, .gguf, .json, .pt or .svec file.")],
    trait: Annotated[str, typer.Option(help="The trait, whatever the file says.")],
    convention: Annotated[
        Literal["block", "hidden-state"] | None,
        typer.Option(help="What the file's indices count, if not what its format usually means."),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option(help="The model it was made from, if the file does not say.")
    ] = None,
    url: Url = protocol.DEFAULT_URL,
) -> None:
    """Make a file a trait's vector on a running server; ends once the server steers by it."""
    with _client(url) as client:
        found = client.put_trait(trait, file, convention=convention, model_name=model_name)
    typer.echo(f"{found.name}: {found.source} {found.sha256}")
    for warning in found.warnings:
        typer.echo(f"{found.name}: {warning}", err=True)


def remove(
    trait: Annotated[str, typer.Argument(help="The trait.")],
    url: Url = protocol.DEFAULT_URL,
) -> None:
    """Remove a trait and its files from a running server; ends once the server has."""
    with _client(url) as client:
        client.delete_trait(trait)
    typer.echo(f"{trait} is removed")


@contextmanager
def _client(url: str) -> Iterator[PersonaClient]:
    """Gives a client; a failure is one line and exit status 1."""
    try:
        with PersonaClient(url) as client:
            yield client
    except (PersonaError, httpx.InvalidURL) as error:
        vectors_output.fail(str(error))
    except OSError as error:
        vectors_output.fail(f"{error.filename}: {error.strerror}")
