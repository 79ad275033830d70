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
        str, typer.Option(help="How strongly, separated by commas; 0 is the baseline.")
    ] = "-2,0,2",
    steer: Annotated[
        list[str] | None,
        typer.Option(help="A steering, such as sarcasm=2,helpfulness=-1; may be repeated."),
    ] = None,
    baseline: Annotated[
        bool, typer.Option(help="Whether to answer without steering before --steer's answers.")
    ] = True,
    csv: options.Csv = None,
    layers: options.Layers = None,
    positions: options.Positions = "all",
    monitor: options.Monitor = None,
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[steering_options.SteeredPromptOptions],
) -> None:
    """Answer one prompt under several steerings at once, shown side by side."""
    if trait is not None and steer:
        raise typer.BadParameter("give --trait with --scalars, or --steer, not both")
    bounds = steering_options.steering({}, options.blocks(layers), positions, given)
    if trait is not None:
        baseline = False  # it is one of the scalars, if it is to be there
        named = [{trait: scalar} for scalar in options.numbers(scalars)]
    else:
        named = [steering_options.scalars(text) for text in steer or ()] or [{}]
    steerings = [dataclasses.replace(bounds, traits=each) for each in named]
    if not all(each.steers for each in steerings):
        raise typer.BadParameter("give --trait with --scalars, --steer, or what bounds a trait")
    if trait is not None and not bounds.steers:
        steerings = [
            dataclasses.replace(each, label=None if each.traits[trait] else "baseline")
            for each in steerings
        ]
    if csv is not None:
        tables.check_folder(csv)
    vectors = vector_files.request_vectors(given["vector"], options.blocks(layers))
    sampling = options.prompt_sampling(given, monitor=monitor, vectors=vectors)

    def run(client: PersonaClient, text: str) -> None:
        comparison = client.compare(text, steerings, baseline=baseline, **sampling)
        if as_json:
            output.print_json([dataclasses.asdict(each) for each in comparison.all_answers])
        else:
            output.print_comparison(comparison.all_answers)
        if csv is not None:
            tables.write(csv, comparison.rows(prompt=text))
        exits.fail_unless(comparison.success)

    server_call.call_with_prompt(url, prompt, run)
