"""The options that commands share, and how their values are read."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from persona_client import protocol

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
