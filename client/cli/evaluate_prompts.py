"""`persona traits evaluate-prompts`: a trait's best system prompts, chosen without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client.cli import research_options as research


@research.declared()
def evaluate_prompts(
    trait: Annotated[
        str, typer.Argument(help="The trait; its candidates are in candidate_{trait}.json.")
    ],
    keep: Annotated[int, typer.Option(min=1, help="How many prompts of each pole to keep.")] = 5,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Rank them, and leave the definition as it is.")
    ] = False,
    runs: Annotated[Path, typer.Option(help="Folder for unfinished work.")] = Path(
        "runs/candidates"
    ),
    **given: Unpack[research.JudgedOptions],
) -> None:
    """Rank a trait's candidate system prompts, and put the best into its definition."""
    with research.one_line_errors():
        from persona_research.commands.candidates import CandidatesRun, run_candidates
        from persona_research.evaluation.conditions import EvaluationSampling

        run = CandidatesRun(
            trait=trait,
            prompts=research.prompts_of(given),
            runs=runs,
            keep=keep,
            dry_run=dry_run,
            model=research.model_of(given),
            judge=research.judge_of(given),
            sampling=EvaluationSampling(given["max_tokens"], given["temperature"], given["seed"]),
        )
        run_candidates(run, typer.echo)
