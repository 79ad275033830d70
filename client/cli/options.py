"""The options that commands share, and how their values are read."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypedDict, get_args, get_type_hints

import typer

from persona_client import protocol
from persona_client import steering as fields

Url = Annotated[str, typer.Option(help="Address of the gateway.", envvar="PERSONA_URL")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Csv = Annotated[
    Path | None, typer.Option(help="File to write a table of the answers to, one row each.")
]
Prompt = Annotated[
    str, typer.Argument(help="The prompt to answer; - reads it from standard input.")
]
System = Annotated[str | None, typer.Option(help="The system prompt.")]
Monitor = Annotated[
    list[str] | None,
    typer.Option(help="Show how far the answer points along this trait; may be repeated."),
]
MonitorLayers = Annotated[
    str | None,
    typer.Option(help="Blocks to read traits at, like 15,20 or 10-14. Default: the vector's own."),
]
Layers = Annotated[
    str | None,
    typer.Option(help="Blocks to steer, like 15,20 or 10-14. Default: the vector's own."),
]
Positions = Annotated[
    fields.Positions,
    typer.Option(
        help="Which tokens to steer. With response, answers share one computation of the prompt."
    ),
]
Unit = Annotated[
    fields.ScalarUnit,
    typer.Option(
        help="What a scalar of 1 is: the vector (raw), or as much of it as asking in the system "
        "prompt is worth (prompt)."
    ),
]
Convention = Annotated[
    Literal["block", "hidden-state"] | None,
    typer.Option(help="What the file's indices count. Default: what its format usually means."),
]


def finite(number: float | None) -> float | None:
    """Refuses nan and inf, which Typer takes for numbers."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


class SamplingOptions(TypedDict):
    """How tokens are chosen, and when to stop."""

    max_tokens: Annotated[int | None, typer.Option(help="The most tokens to generate.")]
    temperature: Annotated[
        float | None,
        typer.Option(help="Of the sampling; 0 always takes the likeliest token.", callback=finite),
    ]
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Keep the likeliest tokens that together have this probability.", callback=finite
        ),
    ]
    top_k: Annotated[
        int | None, typer.Option(help="Keep this many of the likeliest tokens; 0 keeps all.")
    ]
    seed: Annotated[
        int | None, typer.Option(help="Seed of the sampling: the same one gives the same answer.")
    ]
    stop: Annotated[
        list[str] | None, typer.Option(help="Text that ends the answer; may be repeated.")
    ]


class PromptOptions(SamplingOptions):
    """What the commands that answer one prompt may be told about it."""

    system: System
    raw: Annotated[bool, typer.Option(help="Send the prompt without the chat template.")]
    json_schema: Annotated[
        Path | None, typer.Option(help="File with a JSON schema that the answer must match.")
    ]
    regex: Annotated[
        str | None, typer.Option(help="Regular expression that the whole answer must match.")
    ]
    choice: Annotated[
        list[str] | None,
        typer.Option(help="One of the texts that the answer may be; may be repeated."),
    ]
    grammar: Annotated[
        Path | None,
        typer.Option(help="File with a grammar, in Lark's syntax, that the answer must match."),
    ]


def declared_together(
    command: Callable[..., None], defaults: Mapping[str, Any] = MappingProxyType({})
) -> Callable[..., None]:
    """Lets Typer see the options that a command takes as `**given: Unpack[...]`.

    One that is left out is false if it is a flag and else `None`, unless `defaults` says more.
    """
    *own, given = inspect.signature(command, eval_str=True).parameters.values()
    (group,) = get_args(given.annotation)
    parameters = [
        *own,
        *(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, False if get_args(hint)[0] is bool else None),
                annotation=hint,
            )
            for name, hint in get_type_hints(group, include_extras=True).items()
        ),
    ]
    vars(command)["__signature__"] = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def part(group: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what was given of a group of options."""
    return {name: given[name] for name in get_type_hints(group)}


def sampling(**given: Any) -> protocol.Sampling:
    """Returns what was given of the options that requests have, under the requests' names."""
    options: protocol.Sampling = {}
    for name, value in given.items():
        # Flags that are not given are false, and lists empty.
        if value is not None and value is not False and value not in ([], {}):
            options[name] = value  # type: ignore[literal-required]
    return options


def prompt_sampling(given: PromptOptions, **more: Any) -> protocol.Sampling:
    """Returns what was given of `PromptOptions` and others, under the requests' names."""
    picked = part(PromptOptions, given)
    forms = [picked.pop(name) for name in ("json_schema", "regex", "choice", "grammar")]
    system = picked.pop("system")
    return sampling(system_prompt=system, format=_answer_format(*forms), **picked, **more)


def _answer_format(
    json_schema: Path | None, regex: str | None, choice: list[str] | None, grammar: Path | None
) -> dict[str, Any] | None:
    """Returns the format that an answer must have, if one was given."""
    formats: list[dict[str, Any]] = []
    if json_schema is not None:
        formats.append({"type": "json_schema", "schema": _json_of(json_schema)})
    if regex is not None:
        formats.append({"type": "regex", "pattern": regex})
    if choice:
        formats.append({"type": "choice", "choices": choice})
    if grammar is not None:
        formats.append({"type": "grammar", "grammar": _text_of(grammar, "--grammar")})
    if len(formats) > 1:
        raise typer.BadParameter(
            "an answer has one form: give one of --json-schema, --regex, --choice and --grammar"
        )
    return formats[0] if formats else None


def _json_of(file: Path) -> Any:
    try:
        return json.loads(_text_of(file, "--json-schema"))
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"--json-schema: {file} is not valid JSON: {error}") from None


def _text_of(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{option}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise typer.BadParameter(
            f"{option}: {file} is not UTF-8, at byte {error.start}: save it as UTF-8"
        ) from None


def lines(file: Path, option: str) -> list[str]:
    """Reads the lines of a file that are not blank, each once."""
    found = list(dict.fromkeys(filter(str.strip, _text_of(file, option).splitlines())))
    if not found:
        raise typer.BadParameter(f"{option}: {file} has no lines")
    return found


def numbers(text: str) -> list[float]:
    """Reads scalars as an option has them."""
    found = []
    for part in text.split(","):
        number = as_number(part)
        if number is None:
            raise typer.BadParameter(f"--scalars is {text!r}: give numbers like -2,0,2")
        found.append(number)
    return found


def as_number(text: str) -> float | None:
    """Reads a finite number; `None` if it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def blocks(text: str | None, option: str = "--layers") -> list[int]:
    """Reads blocks as an option has them, like `15,20` or `1-35`; none if it is not given."""
    named: list[int] = []
    for part in text.split(",") if text else []:
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(part) > 12:
            raise _no_blocks(text, option)
        end = int(last or first)
        if end < int(first) or end > 9999:
            raise _no_blocks(text, option)
        named.extend(range(int(first), end + 1))
    return named


def read_blocks(text: str | None) -> list[int]:
    """Reads `--monitor-layers` as `blocks` reads `--layers`."""
    return blocks(text, "--monitor-layers")


def _no_blocks(text: str | None, option: str) -> typer.BadParameter:
    return typer.BadParameter(f"{option} is {text!r}: give blocks like 15,20 or 1-35")
