"""`persona vectors make`: vectors of all traits for a model, made without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import Unpack

from persona_client.cli import exits
from persona_client.cli import research_options as research
from persona_client.errors import PersonaError
from persona_client.rest import PersonaClient


@research.declared(max_tokens=60)
def make(
    trait: Annotated[
        list[str] | None,
        typer.Argument(help="Traits with a definition, or definition files. Default: all traits."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the vectors. Default: data/vectors-MODEL.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder for reports and unfinished work.")] = Path(
        "runs/make"
    ),
    url: Annotated[
        str | None,
        typer.Option(help="Address of a gateway that serves the model, to load the vectors into."),
    ] = None,
    questions: Annotated[
        int, typer.Option(min=0, help="How many questions to measure the range with; 0 asks all.")
    ] = 10,
    neutral_questions: research.NeutralQuestions = 80,
    force: Annotated[
        bool, typer.Option("--force", help="Replace vectors that were made otherwise.")
    ] = False,
    **given: Unpack[research.JudgedOptions],
) -> None:
    """Make a model's vectors in one go: extract, choose blocks, calibrate, evaluate, report."""
    with research.one_line_errors():
        from persona_research.commands.making import MakingRun, run_making
        from persona_research.making import make_settings

        run = MakingRun(
            traits=trait or (),
            prompts=research.prompts_of(given),
            output=output,
            runs=runs,
            model=research.model_of(given),
            judge=research.judge_of(given),
            settings=make_settings(
                *(given["max_tokens"], given["temperature"], given["seed"]),
                neutral_questions,
                questions,
            ),
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
