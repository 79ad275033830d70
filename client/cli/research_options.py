"""What the commands share that make and judge vectors: their options, and how they fail.

They need more than the client does, so what they need is imported when they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypedDict

import typer

from persona_client.cli import exits, options

if TYPE_CHECKING:
    from persona_research.commands.options import ModelOptions
    from persona_research.judges.choice import JudgeChoice

Samples = Annotated[
    int,
    typer.Option(min=1, help="Answers to each question and prompt; several need a --temperature."),
]
NeutralQuestions = Annotated[
    int,
    typer.Option(
        min=0,
        max=80,
        help="How many everyday questions to calibrate with, besides the trait's own.",
    ),
]


class AnswerOptions(TypedDict):
    """Which model answers, how, and what."""

    model: Annotated[
        str | None, typer.Option(help="Folder or hub id of a model. Default: the demo model.")
    ]
    prompts: Annotated[
        Path | None, typer.Option(help="Folder of trait definitions. Default: data/prompts.")
    ]
    max_tokens: Annotated[int, typer.Option(min=1, help="The most tokens of an answer.")]
    temperature: Annotated[
        float,
        typer.Option(min=0.0, max=2.0, help="Of the sampling; 0 always takes the likeliest token."),
    ]
    seed: Annotated[int, typer.Option(help="Seed of the sampling.")]
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")]
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        typer.Option(help="Default: float32 on the CPU, the model's own on a GPU."),
    ]
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 uses all cores.")]
    batch_rows: Annotated[int, typer.Option(min=1, help="How many answers to generate at a time.")]


class JudgedOptions(AnswerOptions):
    """The same, and who judges the answers."""

    judge: Annotated[
        Literal["contrast", "rule", "model", "openai"],
        typer.Option(
            help="What scores answers: contrast (which pole's prompts make them likelier), rule "
            "(cue words), model (a number that the model gives), openai (an endpoint)."
        ),
    ]
    judge_model: Annotated[str, typer.Option(help="The judging model's name at the endpoint.")]
    judge_url: Annotated[
        str, typer.Option(help="OpenAI-compatible endpoint, with /v1. Default: OPENAI_BASE_URL.")
    ]
    judge_concurrency: Annotated[
        int,
        typer.Option(min=1, max=256, help="How many requests to send to the endpoint at a time."),
    ]


_DEFAULTS = {
    "max_tokens": 128,
    "temperature": 0.0,
    "seed": 0,
    "device": "auto",
    "threads": 0,
    "batch_rows": 32,
    "judge": "contrast",
    "judge_model": "",
    "judge_url": "",
    "judge_concurrency": 8,
}


def declared(**defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Lets Typer see the groups of options above, with these defaults in place of the usual."""
    return partial(options.declared_together, defaults={**_DEFAULTS, **defaults})


def model_of(given: AnswerOptions) -> ModelOptions:
    """Returns which model was asked for, and how to run it."""
    from persona_research.commands.options import ModelOptions

    return ModelOptions(
        given["model"], given["device"], given["dtype"], given["threads"], given["batch_rows"]
    )


def prompts_of(given: AnswerOptions) -> Path:
    """Returns the folder of definitions."""
    from persona_research.commands.options import DEFAULT_PROMPTS

    return given["prompts"] or DEFAULT_PROMPTS


def judge_of(given: JudgedOptions) -> JudgeChoice:
    """Returns which judge was asked for."""
    from persona_research.judges.choice import JudgeChoice

    return JudgeChoice(
        given["judge"], given["judge_model"], given["judge_url"], given["judge_concurrency"]
    )


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
    exits.fail(
        f"this command needs {error.name}: in a clone of the project, pip install '.[research]'"
    )
