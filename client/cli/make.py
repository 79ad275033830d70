"""`persona vectors make`: vectors of all traits for a model, made without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_client.cli import exits
from persona_client.cli import research_options as options
from persona_client.errors import PersonaError
from persona_client.rest import PersonaClient


def make(
    trait: Annotated[
        list[str] | None,
        typer.Argument(help="Traits with a definition, or definition files; none: all traits."),
    ] = None,
    model: options.Model = None,
    prompts: options.Prompts = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the vectors; none: data/vectors-MODEL.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder for reports and unfinished work.")] = Path(
        "runs/make"
    ),
    url: Annotated[
        str | None,
        typer.Option(help="Address of a gateway that serves the model, to load the vectors there."),
    ] = None,
    questions: Annotated[
        int, typer.Option(min=0, help="How many questions the range is measured with; 0: all.")
    ] = 10,
    judge: options.JudgeKind = "contrast",
    judge_model: options.JudgeModel = "",
    judge_url: options.JudgeUrl = "",
    judge_concurrency: options.JudgeConcurrency = 8,
    max_tokens: options.MaxTokens = 60,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    neutral_questions: options.NeutralQuestions = 80,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    threads: options.Threads = 0,
    batch_rows: options.BatchRows = 32,
    force: Annotated[
        bool, typer.Option("--force", help="Replace vectors that were made otherwise.")
    ] = False,
) -> None:
    """Make a model's vectors in one go: extract, choose blocks, calibrate, evaluate, report."""
    with options.one_line_errors():
        from persona_research.commands.making import MakingRun, run_making
        from persona_research.commands.options import DEFAULT_PROMPTS, ModelOptions
        from persona_research.judges.choice import JudgeChoice
        from persona_research.making import make_settings

        run = MakingRun(
            traits=trait or (),
            prompts=prompts or DEFAULT_PROMPTS,
            output=output,
            runs=runs,
            model=ModelOptions(model, device, dtype, threads, batch_rows),
            judge=JudgeChoice(judge, judge_model, judge_url, judge_concurrency),
            settings=make_settings(max_tokens, temperature, seed, neutral_questions, questions),
            overwrite=force,
        )
        if url is None:
            run_making(run, typer.echo)
            return
        try:
            with PersonaClient(url) as client:
                run_making(run, typer.echo, _Server(client))
        except PersonaError as error:
            exits.fail(str(error))


class _Server:
    """A gateway, asked before the work what it serves."""

    def __init__(self, client: PersonaClient) -> None:
        self._client = client
        self.model = client.status().model

    def load(self, trait: str, file: Path) -> None:
        self._client.put_trait(trait, file)
