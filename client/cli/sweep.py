"""`persona sweep`: one prompt, answered at several scalars of a trait, or bounds for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
    tables,
    vector_files,
)
from persona_client.comparisons import Sweep, SweptAnswer
from persona_client.rest import PersonaClient
from persona_client.steering import Operation

_MULTIPLES = (-1, -0.5, 0, 0.5, 1)


@dataclass(frozen=True)
class _Series:
    """What a sweep goes through: a trait's scalars, or an operation's values.

    Attributes:
        title: What it is of.
        axis: What its numbers are.
        scalars: `None` for a trait's own.
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
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt to answer; - reads it from standard input.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="File with a prompt on each line, in place of PROMPT.")
    ] = None,
    trait: Annotated[str | None, typer.Option(help="The trait to steer.")] = None,
    scalars: Annotated[
        str | None,
        typer.Option(
            help="How strongly, separated by commas; 0 is the baseline. Default: up to as much as "
            "asking in the system prompt does, in both directions, if the vector says how much "
            "that is; else -2,-1,0,1,2."
        ),
    ] = None,
    operation: steering_options.Swept = None,
    values: steering_options.Values = None,
    steer: steering_options.Steer = None,
    scores: Annotated[
        bool, typer.Option(help="Show how far each answer points along the trait.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(help="File to draw the scores to; needs matplotlib.")
    ] = None,
    csv: options.Csv = None,
    layers: options.Layers = None,
    monitor_layers: options.MonitorLayers = None,
    positions: options.Positions = "all",
    unit: options.Unit = "raw",
    as_json: options.Json = False,
    url: options.Url = protocol.DEFAULT_URL,
    **given: Unpack[steering_options.SteeredPromptOptions],
) -> None:
    """Answer prompts at several scalars of a trait, or bounds for one, and score the answers."""
    blocks, read_at = options.blocks(layers), options.read_blocks(monitor_layers)
    steering = steering_options.steering(
        steering_options.scalars(steer), blocks, positions, given, unit
    )
    series = _series(trait, scalars, operation, values, blocks)
    _check_prompts(prompt, prompts, plot)
    _check_files(plot, csv, scores)
    vectors = vector_files.request_vectors(given["vector"], blocks, read_at)
    sampling = options.prompt_sampling(given, monitor_layers=read_at, vectors=vectors)
    asked = steering_options.asked(sampling, trait, steering)

    def run(client: PersonaClient, texts: Sequence[str]) -> None:
        tried = series
        if trait is not None and series.scalars is None:
            own = steering_options.default_scalars(client, trait, steering, _MULTIPLES)
            tried = dataclasses.replace(series, scalars=own)
        found = []
        for text in texts:
            found.append(_answered(client, text, trait, tried, scores, asked))
            if not as_json:
                if prompts is not None:
                    output.write(f"{text}\n")
                sweep_output.print_sweep(series.title, found[-1].answers, scores)
        if as_json:
            printed = [dataclasses.asdict(each) for each in found]
            output.print_json(printed if prompts is not None else printed[0])
        _write_files(plot, csv, series, dict(zip(texts, found, strict=True)))
        exits.fail_unless(all(each.success for each in found))

    if prompts is not None:
        texts = options.lines(prompts, "--prompts")
        server_call.call(url, lambda client: run(client, texts))
    else:
        server_call.call_with_prompt(url, prompt or "", lambda client, text: run(client, [text]))


def _answered(
    client: PersonaClient,
    text: str,
    trait: str | None,
    series: _Series,
    scores: bool,
    asked: protocol.Options,
) -> Sweep:
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
    return stream.whole


def _series(
    trait: str | None,
    scalars: str | None,
    operation: str | None,
    values: str | None,
    layers: list[int],
) -> _Series:
    if trait is not None and operation is None and values is None:
        return _Series(trait, f"scalar of {trait}", options.numbers(scalars) if scalars else None)
    if trait is None and operation is not None:
        bounded, tried = steering_options.series(operation, values, layers)
        name = f"{bounded.kind} {bounded.trait}"
        return _Series(name, name, operation=bounded, values=tried)
    raise typer.BadParameter("give --trait with --scalars, or --operation with --values")


def _check_prompts(prompt: str | None, prompts: Path | None, plot: Path | None) -> None:
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give a prompt, or --prompts with a file of them")
    if prompts is not None and plot is not None:
        raise typer.BadParameter("--plot shows one prompt's scores: give --csv with --prompts")


def _check_files(plot: Path | None, csv: Path | None, scores: bool) -> None:
    """Fails before the answers are computed rather than after."""
    if plot is not None and not scores:
        raise typer.BadParameter("--plot shows the scores: leave --no-scores out")
    if plot is not None and not sweep_output.can_plot():
        exits.fail("--plot needs matplotlib: pip install matplotlib")
    for path in (plot, csv):
        if path is not None:
            tables.check_folder(path)


def _write_files(
    plot: Path | None, csv: Path | None, series: _Series, found: Mapping[str, Sweep]
) -> None:
    """Writes what was found by prompt."""
    if plot is not None:
        (only,) = found.values()
        try:
            sweep_output.write_plot(plot, series.axis, only.answers)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            exits.fail(f"{plot} cannot be written: {reason}")
    if csv is not None:
        tables.write(csv, [row for text, each in found.items() for row in each.rows(prompt=text)])
