"""`persona generate`: one answer, printed as it arrives."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client import protocol
from persona_client.cli import (
    live_output,
    options,
    output,
    server_call,
    steering_options,
    vector_files,
)
from persona_client.rest import PersonaClient

Logprobs = Annotated[
    int | None,
    typer.Option(
        help="Show each token's probability, and this many of the likeliest tokens, 0 to 20."
    ),
]

Live = Annotated[
    bool,
    typer.Option(
        "--live", help="With --monitor, show it for each token, and for each turn of the prompt."
    ),
]


@options.declared_together
def generate(
    prompt: options.Prompt,
    trait: Annotated[str | None, typer.Option(help="The trait to steer. Default: none.")] = None,
    scalar: Annotated[
        float | None,
        typer.Option(
            help="How strongly: above 0 for more, below 0 for less.", callback=options.finite
        ),
    ] = None,
    steer: steering_options.Steer = None,
    layers: options.Layers = None,
    positions: options.Positions = "all",
    unit: options.Unit = "raw",
    monitor: options.Monitor = None,
    monitor_layers: options.MonitorLayers = None,
    live: Live = False,
    logprobs: Logprobs = None,
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[steering_options.SteeredPromptOptions],
) -> None:
    """Answer a prompt, printing the text as it arrives."""
    if (trait is None) != (scalar is None):
        raise typer.BadParameter("give --trait and --scalar together, or neither for a baseline")
    blocks, read_at = options.blocks(layers), options.read_blocks(monitor_layers)
    steering = steering_options.steering(
        steering_options.scalars(steer), blocks, positions, given, unit
    )
    is_placed = any((steering.layers, steering.when, steering.window))
    if trait is None and is_placed and not steering.steers:
        raise typer.BadParameter(
            "--layers, --when and --window say where to steer: say by what, as with --steer, too"
        )
    if live and not monitor:
        raise typer.BadParameter("--live shows what is monitored: say what, as with --monitor")
    sampling = options.prompt_sampling(
        given,
        monitor=monitor,
        monitor_layers=read_at,
        monitor_tokens=live,
        logprobs=logprobs,
        vectors=vector_files.request_vectors(given["vector"], blocks, read_at),
    )
    asked = steering_options.asked(sampling, trait, steering)

    def run(client: PersonaClient, text: str) -> None:
        with client.stream(text, trait=trait, scalar=scalar, **asked) as stream:
            for chunk in stream:
                if live and not as_json:
                    live_output.print_piece(chunk)
                elif not as_json:
                    output.write(chunk.text)
        if as_json:
            output.print_json(dataclasses.asdict(stream.completion))
            return
        output.write(f"\n{stream.completion.response}\n" if live else "\n")
        output.print_details(stream.completion)

    server_call.call_with_prompt(url, prompt, run)
