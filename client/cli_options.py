"""What the commands that talk to a server share: their options, and how they fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TextIO

import httpx
import typer

from client import cli_output as output
from client import protocol
from client.errors import PersonaError
from client.rest import PersonaClient

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
Raw = Annotated[bool, typer.Option(help="Send the prompt without the chat template.")]
Positions = Annotated[
    protocol.Positions,
    typer.Option(help="Which tokens to steer; response shares the prompt's work."),
]


def sampling(**given: Any) -> protocol.Sampling:
    """Returns what was given of the options that requests have, under the requests' names."""
    options: protocol.Sampling = {}
    for name, value in given.items():
        # Flags that are not given are false, and lists empty.
        if value is not None and value is not False and value != []:
            options[name] = value  # type: ignore[literal-required]
    return options


def call(url: str, run: Callable[[PersonaClient], None]) -> None:
    """Runs a command against the server; a failure is one line and exit status 1."""
    try:
        with PersonaClient(url) as client:
            run(client)
    except (PersonaError, httpx.InvalidURL) as error:
        fail(str(error))
    except UnicodeError as error:
        fail(f"standard input or an argument is not valid text: {error}")
    except KeyboardInterrupt:
        # The stream has been closed on the way here, so the server has stopped generating.
        output.write("\n")
        raise typer.Exit(INTERRUPTED) from None


def fail(message: str) -> NoReturn:
    """Prints what went wrong as one line and exits with status 1."""
    output.print_error(message)
    raise typer.Exit(1)


def call_with_prompt(url: str, prompt: str, run: Callable[[PersonaClient, str], None]) -> None:
    """Runs a command about a prompt as `call` does; the prompt `-` is read from standard input."""

    def run_with_text(client: PersonaClient) -> None:
        # Here and nowhere else: standard input can be read once.
        run(client, standard_input().read() if prompt == "-" else prompt)

    call(url, run_with_text)


def standard_input() -> TextIO:
    """Returns standard input; that it is closed is one line and exit status 1."""
    if sys.stdin is None:
        fail("standard input is closed: there is nothing to read")
    return sys.stdin


def numbers(text: str) -> list[float]:
    """Reads scalars as an option has them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--scalars is {text!r}: give numbers like -2,0,2") from None


def steering(text: str) -> dict[str, float]:
    """Reads a steering as an option has it: `sarcasm=2,helpfulness=-1`."""
    scalars: dict[str, float] = {}
    for part in text.split(","):
        name, _, scalar = part.partition("=")
        try:
            scalars[name.strip()] = float(scalar)
        except ValueError:
            raise typer.BadParameter(
                f"--steer is {text!r}: give traits and scalars like sarcasm=2,helpfulness=-1"
            ) from None
    return scalars
