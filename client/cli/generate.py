"""`persona generate`: one answer, printed as it arrives."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client import protocol
from persona_client.cli import options, output, server_call
from persona_client.rest import PersonaClient

Logprobs = Annotated[
    int | None,
    typer.Option(help="Shows each token's probability, and so many of the likeliest; 0 to 20."),
]


@options.declared_together
def generate(
    prompt: options.Prompt,
    trait: Annotated[str | None, typer.Option(help="The trait to steer; none: baseline.")] = None,
    scalar: Annotated[
        float | None, typer.Option(help="Above 0 for more of the trait, below for less.")
    ] = None,
    layers: options.Layers = None,
    monitor: options.Monitor = None,
    logprobs: Logprobs = None,
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[options.PromptOptions],
) -> None:
    """Answer a prompt, printing the text as it arrives."""
    if (trait is None) != (scalar is None):
        raise typer.BadParameter("give --trait and --scalar together, or neither for a baseline")
    if trait is None and layers is not None:
        raise typer.BadParameter("--layers says where to steer: give --trait and --scalar, too")
    sampling = options.prompt_sampling(**given, monitor=monitor, logprobs=logprobs)
    steered = options.steered(sampling, layers)

    def run(client: PersonaClient, text: str) -> None:
        if as_json:
            if trait is None:
                completion = client.baseline(text, **sampling)
            else:
                completion = client.generate(text, trait=trait, scalar=scalar or 0.0, **steered)
            output.print_json(dataclasses.asdict(completion))
            return
        with client.stream(text, trait=trait, scalar=scalar or 0.0, **steered) as stream:
            for chunk in stream:
                output.write(chunk.text)
        output.write("\n")
        output.print_details(stream.completion)

    server_call.call_with_prompt(url, prompt, run)
