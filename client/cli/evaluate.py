"""The command that evaluates vectors, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_client.cli import research_options as options
from persona_client.cli.options import numbers

if TYPE_CHECKING:
    from persona_research.evaluation.trait_evaluation import Blocks


def evaluate(
    vector: Annotated[
        list[str], typer.Argument(help="Vector files, or traits with a vector in data/vectors.")
    ],
    scalars: Annotated[
        str, typer.Option(help="What to try, such as -2,-1,0,1,2; none: by the vector's norms.")
    ] = "",
    blocks: Annotated[
        str, typer.Option(help="Blocks to try, each alone: all, some (15,20), or selected.")
    ] = "all",
    questions: Annotated[
        int, typer.Option(min=0, help="How many of the trait's questions to ask; 0: all.")
    ] = 0,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="Questions to ask in place of the trait's own: a file of JSON lines with "
            "question, or a folder with TRAIT.jsonl."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="The most KL divergence from the unsteered model in the range, nats per token; "
            "none: with the contrast judge twice that of asking, else no limit.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for report and unfinished work; none: runs/evaluation/MODEL."),
    ] = None,
    write: Annotated[
        bool, typer.Option(help="Put the blocks and range that were chosen into the files.")
    ] = False,
    cross: Annotated[
        bool | None,
        typer.Option(help="Score each trait's answers for all the others (default: if several)."),
    ] = None,
    model: options.Model = None,
    prompts: options.Prompts = None,
    judge: options.JudgeKind = "contrast",
    judge_model: options.JudgeModel = "",
    judge_url: options.JudgeUrl = "",
    judge_concurrency: options.JudgeConcurrency = 8,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    threads: options.Threads = 0,
    batch_rows: options.BatchRows = 32,
) -> None:
    """Measure how strong vectors are: which block, which scalars, and what else they move."""
    strengths = tuple(numbers(scalars)) if scalars else ()
    tried = _blocks(blocks)
    with options.one_line_errors():
        from persona_research.commands.evaluation import EvaluationRun, run_evaluation
        from persona_research.commands.options import DEFAULT_PROMPTS, ModelOptions
        from persona_research.evaluation.choice import ChoiceRule
        from persona_research.evaluation.conditions import EvaluationSampling
        from persona_research.evaluation.trait_evaluation import EvaluationSettings
        from persona_research.judges.choice import JudgeChoice

        run = EvaluationRun(
            vectors=vector,
            prompts=prompts or DEFAULT_PROMPTS,
            output=output,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            judge=JudgeChoice(judge, judge_model, judge_url, judge_concurrency),
            settings=EvaluationSettings(
                strengths,
                tried,
                questions,
                EvaluationSampling(max_tokens, temperature, seed),
                ChoiceRule(budget=budget),
            ),
            held_out=held_out,
            write=write,
            cross=len(vector) > 1 if cross is None else cross,
        )
        run_evaluation(run, typer.echo)


def _blocks(text: str) -> Blocks:
    if text == "all":
        return "all"
    if text == "selected":
        return "selected"
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"--blocks is {text!r}: give all, selected, or blocks like 15,20"
        ) from None
