"""`persona sweep`: one prompt, answered at several scalars of a trait, or bounds for one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
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
    sweep_output,
    vector_files,
)
from persona_client.comparisons import SweptAnswer
from persona_client.rest import PersonaClient
from persona_client.steering import Operation


@dataclass(frozen=True)
class _Series:
    """What a sweep goes through: a trait's scalars, or an operation's values.

    Attributes:
        title: What it is of.
        axis: What its numbers are.
    """

    title: str
    axis: str
    scalars: list[float] | None = None
    operation: Operation | None = None
    values: list[float] | None = None

    @property
    def length(self) -> int:
        """How many answers it has."""
        return len(self.scalars or self.values or ())


@options.declared_together
def sweep(
    prompt: options.Prompt,
    trait: Annotated[str | None, typer.Option(help="The trait to steer.")] = None,
    scalars: Annotated[
        str, typer.Option(help="How strongly, separated by commas; 0 is the baseline.")
    ] = "-2,-1,0,1,2",
    operation: steering_options.Swept = None,
    values: steering_options.Values = None,
    steer: steering_options.Steer = None,
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
    **given: Unpack[steering_options.SteeredPromptOptions],
) -> None:
    """Answer one prompt at several scalars of a trait, or bounds for one, and score the answers."""
    blocks = options.blocks(layers)
    steering = steering_options.steering(steering_options.scalars(steer), blocks, positions, given)
    series = _series(trait, scalars, operation, values, blocks)
    if plot is not None:
        _check_plot(plot, scores)
    vectors = vector_files.request_vectors(given["vector"], blocks)
    sampling = options.prompt_sampling(given, vectors=vectors)
    asked = steering_options.asked(sampling, trait, steering)

    def run(client: PersonaClient, text: str) -> None:
        stream = client.sweep_stream(
            text,
            trait=trait,
            scalars=series.scalars,
            operation=series.operation,
            values=series.values,
            scores=scores,
            **asked,
        )
        with stream, sweep_output.progress(series.length) as advance:
            for event in stream:
                if isinstance(event, SweptAnswer):
                    advance()
        found = stream.whole
        if plot is not None:
            try:
                sweep_output.write_plot(plot, series.axis, found.answers)
            except (OSError, ValueError) as error:
                exits.fail(f"{plot} cannot be written: {error}")
        if as_json:
            output.print_json(dataclasses.asdict(found))
        else:
            sweep_output.print_sweep(series.title, found.answers, scores)
        exits.fail_unless(found.success)

    server_call.call_with_prompt(url, prompt, run)


def _series(
    trait: str | None, scalars: str, operation: str | None, values: str | None, layers: list[int]
) -> _Series:
    if trait is not None and operation is None and values is None:
        return _Series(trait, f"scalar of {trait}", options.numbers(scalars))
    if trait is None and operation is not None:
        bounded, tried = steering_options.series(operation, values, layers)
        name = f"{bounded.kind} {bounded.trait}"
        return _Series(name, name, operation=bounded, values=tried)
    raise typer.BadParameter("give --trait with --scalars, or --operation with --values")


def _check_plot(plot: Path, scores: bool) -> None:
    """Fails before the answers are computed rather than after."""
    if not scores:
        raise typer.BadParameter("--plot shows the scores: leave --no-scores out")
    if not sweep_output.can_plot():
        exits.fail("--plot needs matplotlib: pip install matplotlib")
    if not plot.parent.is_dir():
        exits.fail(f"{plot} cannot be written: there is no folder {plot.parent}")
