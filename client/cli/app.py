"""The `persona` command."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from persona_client.cli import (
    calibrate,
    capability,
    chat,
    compare,
    evaluate,
    evaluate_prompts,
    extract,
    generate,
    make,
    status,
    sweep,
    upload,
)
from persona_client.cli.keys import keys_app
from persona_client.cli.vectors import vectors_app

app = typer.Typer(
    # No option takes a key: other users of a machine can see what a command line says.
    help=(
        "Steer a served language model: turn traits of its answers up and down. A gateway that "
        "asks for an API key gets the one in PERSONA_API_KEY."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
traits_app = typer.Typer(invoke_without_command=True, callback=status.traits)
traits_app.command("evaluate-prompts")(evaluate_prompts.evaluate_prompts)
vectors_app.command("upload")(upload.upload)
vectors_app.command("remove")(upload.remove)
vectors_app.command("make")(make.make)
vectors_app.command("extract")(extract.extract)
vectors_app.command("calibrate")(calibrate.calibrate)
vectors_app.command("evaluate")(evaluate.evaluate)
vectors_app.command("capability")(capability.capability)
vectors_app.command("harness")(capability.harness)
app.command("generate")(generate.generate)
app.command("compare")(compare.compare)
app.command("sweep")(sweep.sweep)
app.command("chat")(chat.chat)
app.command("status")(status.status)
app.add_typer(keys_app, name="keys")
app.add_typer(traits_app, name="traits")
app.add_typer(vectors_app, name="vectors")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"persona {version('persona-triton')}")
        raise typer.Exit


@app.callback()
def _persona(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command."""
    app()
