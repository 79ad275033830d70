"""`persona traits evaluate-prompts`: a trait's best system prompts, chosen without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_client.cli import research_options as options


def evaluate_prompts(
    trait: Annotated[str, typer.Argument(help="The trait, with candidate_{trait}.json.")],
    keep: Annotated[int, typer.Option(min=1, help="How many prompts of each pole to keep.")] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Rank them, and leave the definition as it is.")
    ] = False,
    model: options.Model = None,
    prompts: options.Prompts = None,
    runs: Annotated[Path, typer.Option(help="Folder for unfinished work.")] = Path(
        "runs/candidates"
    ),
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
    """Rank a trait's candidate system prompts, and put the best into its definition."""
    with options.one_line_errors():
        from persona_research.commands.candidates import CandidatesRun, run_candidates
        from persona_research.commands.options import DEFAULT_PROMPTS, ModelOptions
        from persona_research.evaluation.conditions import EvaluationSampling
        from persona_research.judges.choice import JudgeChoice

        run = CandidatesRun(
            trait=trait,
            prompts=prompts or DEFAULT_PROMPTS,
            runs=runs,
            keep=keep,
            dry_run=dry_run,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            judge=JudgeChoice(judge, judge_model, judge_url, judge_concurrency),
            sampling=EvaluationSampling(max_tokens, temperature, seed),
        )
        run_candidates(run, typer.echo)
