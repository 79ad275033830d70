"""`persona vectors extract`: vectors of traits, made without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_client.cli import research_options as options


def extract(
    trait: Annotated[
        list[str], typer.Argument(help="Traits with a definition, or definition files.")
    ],
    model: options.Model = None,
    prompts: options.Prompts = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the vectors; none: data/vectors.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder for reports and unfinished work.")] = Path(
        "runs/extraction"
    ),
    layers: Annotated[
        str, typer.Option(help="Blocks to steer by default, such as 15,20; none: by a rule.")
    ] = "",
    scale: Annotated[float, typer.Option(help="Factor on the vectors.")] = 1.0,
    judge: options.JudgeKind = "contrast",
    judge_model: options.JudgeModel = "",
    judge_url: options.JudgeUrl = "",
    judge_concurrency: options.JudgeConcurrency = 8,
    no_filter: Annotated[
        bool, typer.Option("--no-filter", help="Take every answer, without a judge.")
    ] = False,
    least_pairs: Annotated[
        int, typer.Option(min=1, help="How many pairs of answers must pass the judge.")
    ] = 10,
    samples: Annotated[int, typer.Option(min=1, help="Answers per prompt and question.")] = 1,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    neutral_questions: options.NeutralQuestions = 80,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    threads: options.Threads = 0,
    batch_rows: options.BatchRows = 32,
    force: Annotated[
        bool, typer.Option("--force", help="Replace vectors that are there already.")
    ] = False,
) -> None:
    """Make vectors of traits: answers, scores, activations, a vector and a report."""
    blocks = _blocks(layers)
    with options.one_line_errors():
        from persona_research.commands.extraction import ExtractionRun, run_extraction
        from persona_research.commands.options import DEFAULT_PROMPTS, DEFAULT_VECTORS, ModelOptions
        from persona_research.extraction import ExtractionSettings
        from persona_research.judges.choice import JudgeChoice

        run = ExtractionRun(
            traits=trait,
            prompts=prompts or DEFAULT_PROMPTS,
            output=output or DEFAULT_VECTORS,
            runs=runs,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            judge=None
            if no_filter
            else JudgeChoice(judge, judge_model, judge_url, judge_concurrency),
            settings=ExtractionSettings(
                *(max_tokens, temperature, samples, seed, blocks, scale),
                neutral_questions=neutral_questions,
                least_pairs=least_pairs,
            ),
            overwrite=force,
        )
        run_extraction(run, typer.echo)


def _blocks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"--layers is {text!r}: give blocks like 15,20") from None
