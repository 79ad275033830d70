"""`persona vectors calibrate`: which projections onto a vector are usual, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client.cli import research_options as research


@research.declared()
def calibrate(
    vector: Annotated[
        list[str], typer.Argument(help="Vector files, or traits with a vector in data/vectors.")
    ],
    definition: Annotated[
        Path | None,
        typer.Option(
            help="The definition's file. Default: that of the vector's trait in --prompts."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder of vectors. Default: data/vectors.")
    ] = None,
    runs: Annotated[
        Path, typer.Option(help="Folder with an extraction's answers, which are used again.")
    ] = Path("runs/extraction"),
    samples: research.Samples = 1,
    neutral_questions: research.NeutralQuestions = 80,
    doses: Annotated[
        bool,
        typer.Option(help="Find the scalars that do as much as asking in the system prompt."),
    ] = True,
    **given: Unpack[research.AnswerOptions],
) -> None:
    """Measure which projections are usual, and which scalars do as much as asking."""
    with research.one_line_errors():
        from persona_research.commands.calibration import CalibrationRun, run_calibration
        from persona_research.commands.options import DEFAULT_VECTORS
        from persona_research.turns import AnswerSettings

        run = CalibrationRun(
            vectors=vector,
            folder=folder or DEFAULT_VECTORS,
            prompts=research.prompts_of(given),
            definition=definition,
            runs=runs,
            model=research.model_of(given),
            settings=AnswerSettings(
                *(given["max_tokens"], given["temperature"], samples, given["seed"]),
                neutral_questions=neutral_questions,
            ),
            doses=doses,
        )
        run_calibration(run, typer.echo)
