"""The commands that say what a server has: `persona traits` and `persona status`."""

from __future__ import annotations

import dataclasses

import typer

from persona_client import protocol
from persona_client.cli import exits, options, output, server_call
from persona_client.rest import PersonaClient


def traits(
    context: typer.Context, as_json: options.Json = False, url: options.Url = protocol.DEFAULT_URL
) -> None:
    """List the traits that the server has; evaluate-prompts ranks system prompts of one."""
    if context.invoked_subcommand is not None:
        return

    def run(client: PersonaClient) -> None:
        found = client.traits()
        if as_json:
            output.print_json({name: dataclasses.asdict(trait) for name, trait in found.items()})
        else:
            output.print_traits(found)

    server_call.call(url, run)


def status(as_json: options.Json = False, url: options.Url = protocol.DEFAULT_URL) -> None:
    """Say what the server serves, and whether it is ready; if not, exit with status 1."""

    def run(client: PersonaClient) -> None:
        found = client.status()
        if as_json:
            output.print_json(dataclasses.asdict(found))
        else:
            output.print_status(found)
        exits.fail_unless(found.ready)

    server_call.call(url, run)
