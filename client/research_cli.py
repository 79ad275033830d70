"""The commands that make vectors and choose prompts, without a server.

They need more than the client does, so what they need is imported when they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from client import cli_options as cli

Model = Annotated[
    str | None, typer.Option(help="Folder or hub id of a Qwen2.5; none: the demo model.")
]
Prompts = Annotated[
    Path | None, typer.Option(help="Folder of trait definitions; none: data/prompts.")
]
JudgeKind = Annotated[
    Literal["rule", "model", "openai"],
    typer.Option("--judge", help="What scores answers: cue words, the model itself, an endpoint."),
]
JudgeModel = Annotated[str, typer.Option(help="The endpoint's name for the judging model.")]
JudgeUrl = Annotated[
    str, typer.Option(help="The OpenAI-compatible endpoint, with /v1; none: OPENAI_BASE_URL.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="The most tokens of an answer.")]
Temperature = Annotated[float, typer.Option(min=0.0, max=2.0, help="0: the likeliest answer.")]
Seed = Annotated[int, typer.Option(help="Seed of the sampling.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(help="None: float32 on the CPU, the model's own on a GPU."),
]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 is one per core.")]
BatchRows = Annotated[int, typer.Option(min=1, help="The most answers generated at a time.")]


def extract(
    trait: Annotated[
        list[str], typer.Argument(help="Traits with a definition, or definition files.")
    ],
    model: Model = None,
    prompts: Prompts = None,
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
    judge: JudgeKind = "rule",
    judge_model: JudgeModel = "",
    judge_url: JudgeUrl = "",
    no_filter: Annotated[
        bool, typer.Option("--no-filter", help="Take every answer, without a judge.")
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="Answers per prompt and question.")] = 1,
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = None,
    threads: Threads = 0,
    batch_rows: BatchRows = 32,
    force: Annotated[
        bool, typer.Option("--force", help="Replace vectors that are there already.")
    ] = False,
) -> None:
    """Make vectors of traits: answers, scores, activations, a vector and a report."""
    blocks = _blocks(layers)
    with one_line_errors():
        from research.extraction import ExtractionSettings
        from research.extraction_run import (
            DEFAULT_PROMPTS,
            DEFAULT_VECTORS,
            ExtractionRun,
            ModelOptions,
            run_extraction,
        )
        from research.judges.choice import JudgeChoice

        run = ExtractionRun(
            traits=trait,
            prompts=prompts or DEFAULT_PROMPTS,
            output=output or DEFAULT_VECTORS,
            runs=runs,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            judge=None if no_filter else JudgeChoice(judge, judge_model, judge_url),
            settings=ExtractionSettings(max_tokens, temperature, samples, seed, blocks, scale),
            overwrite=force,
        )
        run_extraction(run, typer.echo)


def evaluate_prompts(
    trait: Annotated[str, typer.Argument(help="The trait, with candidate_{trait}.json.")],
    keep: Annotated[int, typer.Option(min=1, help="How many prompts of each pole to keep.")] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Rank them, and leave the definition as it is.")
    ] = False,
    model: Model = None,
    prompts: Prompts = None,
    runs: Annotated[Path, typer.Option(help="Folder for unfinished work.")] = Path(
        "runs/candidates"
    ),
    judge: JudgeKind = "rule",
    judge_model: JudgeModel = "",
    judge_url: JudgeUrl = "",
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: Dtype = None,
    threads: Threads = 0,
    batch_rows: BatchRows = 32,
) -> None:
    """Rank a trait's candidate system prompts, and put the best into its definition."""
    with one_line_errors():
        from research.candidates_run import CandidatesRun, run_candidates
        from research.extraction_run import DEFAULT_PROMPTS, ModelOptions
        from research.judges.choice import JudgeChoice

        run = CandidatesRun(
            trait=trait,
            prompts=prompts or DEFAULT_PROMPTS,
            runs=runs,
            keep=keep,
            dry_run=dry_run,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            judge=JudgeChoice(judge, judge_model, judge_url),
            max_new_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
        )
        run_candidates(run, typer.echo)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Makes one line of an error, and of Ctrl-C one that says how to go on."""
    try:
        from research.errors import USER_ERRORS
    except ModuleNotFoundError as error:
        _fail_without(error)
    try:
        yield
    except ModuleNotFoundError as error:
        _fail_without(error)
    except USER_ERRORS as error:
        cli.fail(str(error))
    except KeyboardInterrupt:
        typer.echo(
            "stopped: what is finished is kept; give the same command again to go on", err=True
        )
        raise typer.Exit(cli.INTERRUPTED) from None


def _fail_without(error: ModuleNotFoundError) -> NoReturn:
    """Says which package is missing, and ends the command."""
    cli.fail(f"this command needs {error.name}: pip install 'persona-triton[research]'")


def _blocks(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"--layers is {text!r}: give blocks like 15,20") from None
