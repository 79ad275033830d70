"""The command that evaluates vectors, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typing_extensions import Unpack

from persona_client.cli import options
from persona_client.cli import research_options as research

if TYPE_CHECKING:
    from persona_research.evaluation.trait_evaluation import Blocks


@research.declared()
def evaluate(
    vector: Annotated[
        list[str], typer.Argument(help="Vector files, or traits with a vector in data/vectors.")
    ],
    scalars: Annotated[
        str,
        typer.Option(help="Scalars to try, such as -2,-1,0,1,2. Default: by the vector's norms."),
    ] = "",
    unit: options.Unit = "raw",
    layers: Annotated[
        str,
        typer.Option(help="Blocks to try, each alone: all, some like 15,20 or 10-14, or selected."),
    ] = "all",
    questions: Annotated[
        int, typer.Option(min=0, help="How many of the trait's questions to ask; 0 asks all.")
    ] = 0,
    held_out: Annotated[
        Path | None,
        typer.Option(
            help="Questions to ask in place of the trait's own: a file of JSON lines, "
            '{"question": "..."}, or a folder with TRAIT.jsonl.'
        ),
    ] = None,
    samples: research.Samples = 1,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="The most that the range may change of the model, as KL divergence in nats per "
            "token. Default: with the contrast judge twice what asking changes, else no limit.",
            callback=options.finite,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for report and unfinished work. Default: runs/evaluation/MODEL."),
    ] = None,
    write: Annotated[
        bool, typer.Option(help="Write the chosen blocks and range into the vector files.")
    ] = False,
    control: Annotated[
        bool,
        typer.Option(
            help="Measure a random vector of the same norm at the ends of the range, too."
        ),
    ] = True,
    cross: Annotated[
        bool | None,
        typer.Option(
            help="Score each trait's answers for the others, too. Default: if there are several."
        ),
    ] = None,
    **given: Unpack[research.JudgedOptions],
) -> None:
    """Measure how strong vectors are: which block, which scalars, and what else they move."""
    strengths = tuple(options.numbers(scalars)) if scalars else ()
    tried = _blocks(layers)
    if unit == "prompt" and not strengths:
        raise typer.BadParameter("--unit prompt is that of --scalars: give some, such as -1,0,1")
    with research.one_line_errors():
        from persona_research.commands.evaluation import EvaluationRun, run_evaluation
        from persona_research.evaluation.choice import ChoiceRule
        from persona_research.evaluation.conditions import EvaluationSampling
        from persona_research.evaluation.trait_evaluation import EvaluationSettings

        run = EvaluationRun(
            vectors=vector,
            prompts=research.prompts_of(given),
            output=output,
            model=research.model_of(given),
            judge=research.judge_of(given),
            settings=EvaluationSettings(
                strengths,
                tried,
                questions,
                EvaluationSampling(
                    *(given["max_tokens"], given["temperature"], given["seed"], samples)
                ),
                ChoiceRule(budget=budget),
                unit=unit,
                control=control,
            ),
            held_out=held_out,
            write=write,
            cross=len(vector) > 1 if cross is None else cross,
        )
        run_evaluation(run, typer.echo)


def _blocks(text: str) -> Blocks:
    words: dict[str, Blocks] = {"all": "all", "selected": "selected"}
    return words.get(text) or tuple(options.blocks(text))
