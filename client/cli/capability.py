"""The commands that show what steering costs in capability."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_client import protocol
from persona_client.cli import options, research_options, server_call
from persona_client.errors import ServerError
from persona_client.rest import PersonaClient
from persona_client.results import PromptToken

if TYPE_CHECKING:
    from persona_research.commands.capability import Choice

Output = Annotated[Path, typer.Option(help="Folder for the report.")]


def capability(
    trait: Annotated[list[str], typer.Argument(help="The traits to steer, each alone.")],
    task: Annotated[
        Path,
        typer.Option(help="File of JSON lines: question, choices, and the index of the right one."),
    ] = Path("data/tasks/everyday.jsonl"),
    scalars: Annotated[
        str, typer.Option(help="How strongly, separated by commas; 0 is always measured.")
    ] = "-2,-1,0,1,2",
    layers: options.Layers = None,
    raw: Annotated[
        bool,
        typer.Option(
            help="Send question and choice as one text, for models without a chat template."
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, help="Ask only this many questions; 0 asks all.")
    ] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="How many calls to make at a time.")] = 4,
    output: Output = Path("runs/capability"),
    url: options.Url = protocol.DEFAULT_URL,
) -> None:
    """Measure what steering costs in capability: a task's accuracy over scalars."""
    strengths, blocks = options.numbers(scalars), options.blocks(layers)
    with research_options.one_line_errors():
        from persona_research.commands.capability import CapabilityRun, run_capability

        found = CapabilityRun(trait, task, strengths, output, limit, concurrency)

        def run(client: PersonaClient) -> None:
            run_capability(found, partial(_scores, client, blocks, raw), typer.echo)

        server_call.call(url, run)


def harness(
    results: Annotated[
        Path, typer.Argument(help="The file or folder that lm_eval wrote (its --output_path).")
    ],
    output: Output = Path("runs/harness"),
) -> None:
    """Show what lm-evaluation-harness measured over scalars, as tables and a plot."""
    with research_options.one_line_errors():
        from persona_research.commands.capability import run_harness

        run_harness(results, output, typer.echo)


def _scores(
    client: PersonaClient, blocks: list[int], raw: bool, choice: Choice, scalars: Sequence[float]
) -> list[float]:
    """Returns a choice's log-likelihood after its question, at each scalar."""
    asked: protocol.Options = {"max_tokens": 0, "prompt_logprobs": 0}
    if blocks:
        asked["layers"] = blocks
    prompt = None
    if raw:
        asked["raw"], prompt = True, f"{choice.question} {choice.text}"
    else:
        asked["continue_final_message"] = True
        asked["messages"] = [
            {"role": "user", "content": choice.question},
            {"role": "assistant", "content": choice.text},
        ]
    swept = client.sweep(prompt, trait=choice.trait, scalars=scalars, **asked)
    for answer in swept.answers:
        if not answer.success:
            raise ServerError(f"a choice could not be scored: {answer.error}")
    return [_of_end(answer.prompt_logprobs or (), choice.text) for answer in swept.answers]


def _of_end(tokens: Sequence[PromptToken], text: str) -> float:
    """Returns the log-likelihood of the text that a prompt ends with.

    A token that is the text's in part is all of it counted in: it is where the two are joined.
    """
    total, length = 0.0, len(text.encode())
    for token in reversed(tokens):
        if length <= 0:
            break
        total += token.logprob or 0.0
        length -= len(token.bytes)
    return total
