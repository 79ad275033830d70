"""The `persona` command."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import httpx
import typer

from client import cli_output as output
from client import protocol
from client.errors import PersonaError
from client.rest import PersonaClient
from client.results import Completion

app = typer.Typer(
    help="Text from a steered Qwen2.5: the traits of its answers turned up and down.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

INTERRUPTED = 130

Url = Annotated[str, typer.Option(help="Address of the gateway.", envvar="PERSONA_URL")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Prompt = Annotated[str, typer.Argument(help="What to answer; - reads it from standard input.")]
System = Annotated[str | None, typer.Option(help="The system turn before the prompt.")]
MaxTokens = Annotated[int | None, typer.Option(help="The most tokens to generate.")]
Temperature = Annotated[float | None, typer.Option(help="0 always takes the likeliest token.")]
TopP = Annotated[float | None, typer.Option(help="Probability that the candidates must reach.")]
TopK = Annotated[int | None, typer.Option(help="Number of candidates; 0 is all.")]
Seed = Annotated[int | None, typer.Option(help="Makes the answer reproducible.")]
Stop = Annotated[list[str] | None, typer.Option(help="Ends the answer; may be repeated.")]
Monitor = Annotated[
    list[str] | None,
    typer.Option(help="Shows how far the answer points along a trait; may be repeated."),
]
Logprobs = Annotated[
    int | None,
    typer.Option(help="Shows each token's probability, and so many of the likeliest; 0 to 20."),
]
Raw = Annotated[bool, typer.Option(help="Send the prompt without the chat template.")]


@app.command()
def generate(
    prompt: Prompt,
    trait: Annotated[str | None, typer.Option(help="The trait to steer; none: baseline.")] = None,
    scalar: Annotated[
        float | None, typer.Option(help="Above 0 for more of the trait, below for less.")
    ] = None,
    system: System = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    stop: Stop = None,
    raw: Raw = False,
    monitor: Monitor = None,
    logprobs: Logprobs = None,
    as_json: Json = False,
    url: Url = protocol.DEFAULT_URL,
) -> None:
    """Answer a prompt, printing the text as it arrives."""
    if (trait is None) != (scalar is None):
        raise typer.BadParameter("give --trait and --scalar together, or neither for a baseline")
    options = _options(
        system, max_tokens, temperature, top_p, top_k, seed, stop, raw, monitor, logprobs
    )

    def run(client: PersonaClient) -> None:
        if as_json:
            completion = _complete(client, _read(prompt), trait, scalar or 0.0, options)
            output.print_json(dataclasses.asdict(completion))
            return
        with client.stream(_read(prompt), trait=trait, scalar=scalar or 0.0, **options) as stream:
            for chunk in stream:
                output.write(chunk.text)
        output.write("\n")
        output.print_details(stream.completion)

    _call(url, run)


@app.command()
def compare(
    prompt: Prompt,
    trait: Annotated[str, typer.Option(help="The trait to steer.")],
    scalars: Annotated[
        str, typer.Option(help="How strongly, separated by commas; 0 is the baseline.")
    ] = "-2,0,2",
    system: System = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    stop: Stop = None,
    raw: Raw = False,
    monitor: Monitor = None,
    as_json: Json = False,
    url: Url = protocol.DEFAULT_URL,
) -> None:
    """Answer one prompt at several strengths of a trait, shown side by side."""
    strengths = _numbers(scalars)
    options = _options(system, max_tokens, temperature, top_p, top_k, seed, stop, raw, monitor)

    def run(client: PersonaClient) -> None:
        text = _read(prompt)
        completions = [client.generate(text, trait=trait, scalar=s, **options) for s in strengths]
        if as_json:
            output.print_json([dataclasses.asdict(completion) for completion in completions])
        else:
            output.print_comparison(trait, completions)

    _call(url, run)


@app.command()
def traits(as_json: Json = False, url: Url = protocol.DEFAULT_URL) -> None:
    """List the traits that the server has."""

    def run(client: PersonaClient) -> None:
        found = client.traits()
        if as_json:
            output.print_json({name: dataclasses.asdict(trait) for name, trait in found.items()})
        else:
            output.print_traits(found)

    _call(url, run)


@app.command()
def status(as_json: Json = False, url: Url = protocol.DEFAULT_URL) -> None:
    """Say what the server serves, and whether it is ready; if not, exit with status 1."""

    def run(client: PersonaClient) -> None:
        found = client.status()
        if as_json:
            output.print_json(dataclasses.asdict(found))
        else:
            output.print_status(found)
        if not found.ready:
            raise typer.Exit(1)

    _call(url, run)


def main() -> None:
    """Runs the command."""
    app()


def _call(url: str, run: Callable[[PersonaClient], None]) -> None:
    """Runs a command against the server; a failure is one line and exit status 1."""
    try:
        with PersonaClient(url) as client:
            run(client)
    except (PersonaError, httpx.InvalidURL) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        # The stream has been closed on the way here, so the server has stopped generating.
        output.write("\n")
        raise typer.Exit(INTERRUPTED) from None


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


def _read(prompt: str) -> str:
    return sys.stdin.read() if prompt == "-" else prompt


def _complete(
    client: PersonaClient,
    prompt: str,
    trait: str | None,
    scalar: float,
    options: protocol.Options,
) -> Completion:
    if trait is None:
        return client.baseline(prompt, **options)
    return client.generate(prompt, trait=trait, scalar=scalar, **options)


def _options(
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    seed: int | None,
    stop: list[str] | None,
    raw: bool,
    monitor: list[str] | None = None,
    logprobs: int | None = None,
) -> protocol.Options:
    given: dict[str, Any] = {
        "system_prompt": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "seed": seed,
        "stop": stop or None,
        "raw": raw or None,
        "monitor": monitor or None,
        "logprobs": logprobs,
    }
    options: protocol.Options = {}
    for name, value in given.items():
        if value is not None:
            options[name] = value  # type: ignore[literal-required]
    return options


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--scalars is {text!r}: give numbers like -2,0,2") from None


if __name__ == "__main__":
    main()
