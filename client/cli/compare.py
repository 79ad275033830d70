"""The commands that answer one prompt several times: `persona compare` and `persona sweep`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client import protocol
from persona_client.cli import exits, options, output, server_call, sweep_output
from persona_client.comparisons import Steering, SweptAnswer
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
    layers: options.Layers = None,
    positions: options.Positions = "all",
    monitor: options.Monitor = None,
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[options.PromptOptions],
) -> None:
    """Answer one prompt under several steerings at once, shown side by side."""
    if (trait is None) == (not steer):
        raise typer.BadParameter("give --trait with --scalars, or --steer, once or more")
    blocks = tuple(options.blocks(layers)) or None
    if trait is None:
        steerings = [Steering(options.steering(text), blocks, positions) for text in steer or ()]
    else:
        baseline = False  # it is one of the scalars, if it is to be there
        steerings = [
            Steering({trait: scalar}, blocks, positions, None if scalar else "baseline")
            for scalar in options.numbers(scalars)
        ]
    sampling = options.prompt_sampling(**given, monitor=monitor)

    def run(client: PersonaClient, text: str) -> None:
        comparison = client.compare(text, steerings, baseline=baseline, **sampling)
        if as_json:
            output.print_json([dataclasses.asdict(each) for each in comparison.all_answers])
        else:
            output.print_comparison(comparison.all_answers)
        _exit_if_failed(comparison.success)

    server_call.call_with_prompt(url, prompt, run)


@options.declared_together
def sweep(
    prompt: options.Prompt,
    trait: Annotated[str, typer.Option(help="The trait to steer.")],
    scalars: Annotated[
        str, typer.Option(help="How strongly, separated by commas; 0 is the baseline.")
    ] = "-2,-1,0,1,2",
    scores: Annotated[
        bool, typer.Option(help="Whether to show how far each answer points along the trait.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(help="An image of the scores to write; needs matplotlib.")
    ] = None,
    layers: options.Layers = None,
    positions: options.Positions = "all",
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[options.PromptOptions],
) -> None:
    """Answer one prompt at several strengths of a trait at once, and score the answers."""
    strengths = options.numbers(scalars)
    if plot is not None:
        _check_plot(plot, scores)
    sampling = options.prompt_sampling(**given)
    steered = options.steered(sampling, layers, positions)

    def run(client: PersonaClient, text: str) -> None:
        stream = client.sweep_stream(text, trait=trait, scalars=strengths, scores=scores, **steered)
        with stream, sweep_output.progress(len(strengths)) as advance:
            for event in stream:
                if isinstance(event, SweptAnswer):
                    advance()
        found = stream.whole
        if plot is not None:
            try:
                sweep_output.write_plot(plot, trait, found.answers)
            except (OSError, ValueError) as error:
                exits.fail(f"{plot} cannot be written: {error}")
        if as_json:
            output.print_json(dataclasses.asdict(found))
        else:
            sweep_output.print_sweep(trait, found.answers, scores)
        _exit_if_failed(found.success)

    server_call.call_with_prompt(url, prompt, run)


def _check_plot(plot: Path, scores: bool) -> None:
    """Fails before the answers are computed rather than after."""
    if not scores:
        raise typer.BadParameter("--plot shows the scores: leave --no-scores out")
    if not sweep_output.can_plot():
        exits.fail("--plot needs matplotlib: pip install matplotlib")
    if not plot.parent.is_dir():
        exits.fail(f"{plot} cannot be written: there is no folder {plot.parent}")


def _exit_if_failed(success: bool) -> None:
    if not success:
        raise typer.Exit(1)
