"""What the commands share that make and judge vectors: their options, and how they fail.

They need more than the client does, so what they need is imported when they run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from persona_client.cli import exits

Model = Annotated[
    str | None, typer.Option(help="Folder or hub id of a model; none: the demo model.")
]
Prompts = Annotated[
    Path | None, typer.Option(help="Folder of trait definitions; none: data/prompts.")
]
JudgeKind = Annotated[
    Literal["contrast", "rule", "model", "openai"],
    typer.Option(
        "--judge",
        help="What scores answers: which pole's prompts make them likelier, cue words, a number "
        "that the model replies with, or an endpoint.",
    ),
]
JudgeModel = Annotated[str, typer.Option(help="The endpoint's name for the judging model.")]
JudgeUrl = Annotated[
    str, typer.Option(help="The OpenAI-compatible endpoint, with /v1; none: OPENAI_BASE_URL.")
]
JudgeConcurrency = Annotated[
    int, typer.Option(min=1, max=256, help="The most requests to the endpoint at a time.")
]
NeutralQuestions = Annotated[
    int,
    typer.Option(
        min=0,
        max=80,
        help="How many everyday questions a calibration asks besides the trait's own.",
    ),
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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Makes one line of an error, and of Ctrl-C one that says how to go on."""
    try:
        from persona_research.errors import USER_ERRORS
    except ModuleNotFoundError as error:
        _fail_without(error)
    try:
        yield
    except ModuleNotFoundError as error:
        _fail_without(error)
    except USER_ERRORS as error:
        exits.fail(str(error))
    except KeyboardInterrupt:
        typer.echo(
            "stopped: what is finished is kept; give the same command again to go on", err=True
        )
        raise typer.Exit(exits.INTERRUPTED) from None


def _fail_without(error: ModuleNotFoundError) -> NoReturn:
    """Says which package is missing, and ends the command."""
    exits.fail(f"this command needs {error.name}: pip install 'persona-triton[research]'")
