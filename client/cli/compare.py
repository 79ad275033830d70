"""`persona compare`: one prompt, answered under several steerings."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client import protocol
from persona_client.cli import (
    exits,
    options,
    output,
    server_call,
    steering_options,
    tables,
    vector_files,
)
from persona_client.rest import PersonaClient


@options.declared_together
def compare(
    prompt: options.Prompt,
    trait: Annotated[str | None, typer.Option(help="The trait to steer, at --scalars.")] = None,
    scalars: Annotated[
        str | None,
        typer.Option(
            help="How strongly, separated by commas; 0 is the baseline. Default: as much as asking "
            "in the system prompt does, in both directions, if the vector says how much that is; "
            "else -2,0,2."
        ),
    ] = None,
    steer: Annotated[
        list[str] | None,
        typer.Option(
            help="Traits and scalars of one answer, as sarcasm=2,helpfulness=-1; may be repeated."
        ),
    ] = None,
    baseline: Annotated[
        bool, typer.Option(help="With --steer, answer without steering, too.")
    ] = True,
    csv: options.Csv = None,
    layers: options.Layers = None,
    positions: options.Positions = "all",
    unit: options.Unit = "raw",
    monitor: options.Monitor = None,
    monitor_layers: options.MonitorLayers = None,
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[steering_options.SteeredPromptOptions],
) -> None:
    """Answer one prompt under several steerings at once, shown side by side."""
    if trait is not None and steer:
        raise typer.BadParameter("give --trait with --scalars, or --steer, not both")
    blocks, read_at = options.blocks(layers), options.read_blocks(monitor_layers)
    bounds = steering_options.steering({}, blocks, positions, given, unit)
    scaled = options.numbers(scalars) if scalars is not None else None
    named = [steering_options.scalars(text) for text in steer or ()] or [{}]
    if trait is None and not all(each or bounds.steers for each in named):
        raise typer.BadParameter("give --trait with --scalars, --steer, or what bounds a trait")
    if csv is not None:
        tables.check_folder(csv)
    vectors = vector_files.request_vectors(given["vector"], blocks, read_at)
    sampling = options.prompt_sampling(
        given, monitor=monitor, monitor_layers=read_at, vectors=vectors
    )

    def run(client: PersonaClient, text: str) -> None:
        tried = named
        if trait is not None:
            tried = [
                {trait: scalar}
                for scalar in scaled
                or steering_options.default_scalars(client, trait, bounds, (-1, 0, 1))
            ]
        steerings = [dataclasses.replace(bounds, traits=each) for each in tried]
        if trait is not None and not bounds.steers:
            steerings = [
                dataclasses.replace(each, label=None if each.traits[trait] else "baseline")
                for each in steerings
            ]
        # A trait's baseline is one of its scalars, if it is to be there.
        comparison = client.compare(
            text, steerings, baseline=baseline and trait is None, **sampling
        )
        if as_json:
            output.print_json([dataclasses.asdict(each) for each in comparison.all_answers])
        else:
            output.print_comparison(comparison.all_answers)
        if csv is not None:
            tables.write(csv, comparison.rows(prompt=text))
        exits.fail_unless(comparison.success)

    server_call.call_with_prompt(url, prompt, run)
