"""`persona vectors calibrate`: which projections onto a vector are usual, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_client.cli import research_options as options


def calibrate(
    vector: Annotated[
        list[str], typer.Argument(help="Vector files, or traits with a vector in data/vectors.")
    ],
    model: options.Model = None,
    prompts: options.Prompts = None,
    definition: Annotated[
        Path | None,
        typer.Option(help="The definition's file; none: that of the vector's trait in --prompts."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The folder of vectors; none: data/vectors.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder of an extraction's answers.")] = Path(
        "runs/extraction"
    ),
    samples: Annotated[int, typer.Option(min=1, help="Answers per prompt and question.")] = 1,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    neutral_questions: options.NeutralQuestions = 80,
    doses: Annotated[
        bool,
        typer.Option(help="Find the scalars that do as much as asking in the system prompt."),
    ] = True,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    threads: options.Threads = 0,
    batch_rows: options.BatchRows = 32,
) -> None:
    """Measure which projections are usual, and which scalars do as much as asking."""
    with options.one_line_errors():
        from persona_research.commands.calibration import CalibrationRun, run_calibration
        from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS, ModelOptions
        from persona_research.turns import AnswerSettings

        run = CalibrationRun(
            vectors=vector,
            folder=folder or DEFAULT_VECTORS,
            prompts=prompts or DEFAULT_PROMPTS,
            definition=definition,
            runs=runs,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            settings=AnswerSettings(
                max_tokens, temperature, samples, seed, neutral_questions=neutral_questions
            ),
            doses=doses,
        )
        run_calibration(run, typer.echo)
