"""`persona vectors extract`: vectors of traits, made without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client.cli import options
from persona_client.cli import research_options as research


@research.declared()
def extract(
    trait: Annotated[
        list[str], typer.Argument(help="Traits with a definition, or definition files.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the vectors. Default: data/vectors.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder for reports and unfinished work.")] = Path(
        "runs/extraction"
    ),
    layers: Annotated[
        str | None,
        typer.Option(
            help="Blocks that the vectors steer, like 15,20 or 10-14. Default: chosen by a rule."
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Multiply the vectors by this factor.", callback=options.finite)
    ] = 1.0,
    no_filter: Annotated[
        bool, typer.Option("--no-filter", help="Use every answer, without a judge.")
    ] = False,
    least_pairs: Annotated[
        int, typer.Option(min=1, help="The least pairs of answers that must pass the judge.")
    ] = 10,
    samples: research.Samples = 1,
    neutral_questions: research.NeutralQuestions = 80,
    force: Annotated[
        bool, typer.Option("--force", help="Replace vectors that are there already.")
    ] = False,
    **given: Unpack[research.JudgedOptions],
) -> None:
    """Make vectors of traits: answers, scores, activations, a vector and a report."""
    blocks = tuple(options.blocks(layers))
    with research.one_line_errors():
        from persona_research.commands.extraction import ExtractionRun, run_extraction
        from persona_research.commands.options import DEFAULT_VECTORS
        from persona_research.extraction import ExtractionSettings

        run = ExtractionRun(
            traits=trait,
            prompts=research.prompts_of(given),
            output=output or DEFAULT_VECTORS,
            runs=runs,
            model=research.model_of(given),
            judge=None if no_filter else research.judge_of(given),
            settings=ExtractionSettings(
                *(given["max_tokens"], given["temperature"], samples, given["seed"], blocks, scale),
                neutral_questions=neutral_questions,
                least_pairs=least_pairs,
            ),
            overwrite=force,
        )
        run_extraction(run, typer.echo)
