"""The `persona vectors` commands that change what a running server has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_client import protocol
from persona_client.cli import exits, options, server_call
from persona_client.rest import PersonaClient


def upload(
    file: Annotated[Path, typer.Argument(help="A .safetensors, .gguf, .json, .pt or .svec file.")],
    trait: Annotated[str, typer.Option(help="The trait, whatever the file says.")],
    convention: options.Convention = None,
    model_name: Annotated[
        str | None, typer.Option(help="The model it was made from, if the file does not say.")
    ] = None,
    url: options.Url = protocol.DEFAULT_URL,
) -> None:
    """Make a file a trait's vector on a running server; ends once the server steers by it."""

    def run(client: PersonaClient) -> None:
        try:
            found = client.put_trait(trait, file, convention=convention, model_name=model_name)
        except OSError as error:
            exits.fail(f"{error.filename}: {error.strerror}")
        typer.echo(f"{found.name}: {found.source} {found.sha256}")
        for warning in found.warnings:
            typer.echo(f"{found.name}: {warning}", err=True)

    server_call.call(url, run)


def remove(
    trait: Annotated[str, typer.Argument(help="The trait.")],
    url: options.Url = protocol.DEFAULT_URL,
) -> None:
    """Remove a trait and its files from a running server; ends once the server has."""

    def run(client: PersonaClient) -> None:
        client.delete_trait(trait)
        typer.echo(f"{trait} is removed")

    server_call.call(url, run)
