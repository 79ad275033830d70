"""The options that say how to steer, and how their values are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict, cast

import typer

from persona_client import protocol
from persona_client.cli import options
from persona_client.rest import PersonaClient
from persona_client.steering import (
    Condition,
    Limit,
    LimitAction,
    Operation,
    OperationKind,
    Positions,
    ScalarUnit,
    Steering,
    Unit,
    Window,
)

_BOUND = "of how far the answer points along a trait, as a number or percentile; may be repeated"

Steer = Annotated[
    str | None, typer.Option(help="Traits and their scalars, as sarcasm=2,helpfulness=-1.")
]


class SteeringOptions(TypedDict):
    """What bounds traits, which tokens are steered, and what ends the answer."""

    cap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRAIT=BOUND",
            help=f"Upper bound {_BOUND}: maliciousness=p90; maliciousness=p90:0.5 makes half of "
            "the change.",
        ),
    ]
    floor: Annotated[
        list[str] | None,
        typer.Option(metavar="TRAIT=BOUND", help=f"Lower bound {_BOUND}: helpfulness=3."),
    ]
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="TRAIT=BOUND", help="Both bounds at once, in the same way."),
    ]
    ablate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRAIT",
            help="Removes what points along a trait, as sarcasm, or sarcasm:0.5 for half of it; "
            "may be repeated.",
        ),
    ]
    when: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Steers only tokens that meet it: 'flattery>p90', 'flattery<2.5', 'flattery>3@12' "
            "(at block 12).",
        ),
    ]
    window: Annotated[
        str | None,
        typer.Option(
            metavar="FROM:TO:FADE",
            help="Steers only these tokens of the answer: 0:40, 10: or 0:40:10, which fades out "
            "over the last 10.",
        ),
    ]
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help="Ends the answer once a token goes beyond it: 'flattery>p99', 'flattery>p99:3' (3 "
            "tokens in a row), 'flattery>3@12:3:report' (at block 12; goes on); may be repeated.",
        ),
    ]
    vector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Use a vector file under this name, as if the server had it; may be repeated.",
        ),
    ]


class SteeredPromptOptions(options.PromptOptions, SteeringOptions):
    """What the commands that answer one prompt may be told, how to bound the answer among it."""


class SteeredChatOptions(options.SamplingOptions, SteeringOptions):
    """What a chat may be told, how to bound its answers among it."""


Swept = Annotated[
    str | None,
    typer.Option(metavar="KIND:TRAIT", help="The bound to sweep over --values, as cap:sarcasm."),
]
Values = Annotated[
    str | None, typer.Option(help="Bounds to try, separated by commas: 0,5,10 or p50,p90,p99.")
]


def steering(
    traits: Mapping[str, float],
    layers: list[int],
    positions: Positions | None,
    given: SteeringOptions,
    unit: ScalarUnit = "raw",
) -> Steering:
    """Returns what the options say together: kinds of operations in this order, at these layers."""
    bounds: tuple[tuple[OperationKind, list[str] | None], ...] = (
        ("cap", given["cap"]),
        ("floor", given["floor"]),
        ("pin", given["pin"]),
    )
    blocks = tuple(layers) or None
    operations = [_operation(kind, text, blocks) for kind, texts in bounds for text in texts or ()]
    operations += [_ablation(text, blocks) for text in given["ablate"] or ()]
    return Steering(
        traits,
        blocks,
        positions,
        operations=tuple(operations),
        when=_condition(given["when"]) if given["when"] else None,
        window=_window(given["window"]) if given["window"] else None,
        limits=tuple(map(_limit, given["limit"] or ())),
        unit=None if unit == "raw" else unit,
    )


def asked(sampling: protocol.Sampling, trait: str | None, steering: Steering) -> protocol.Options:
    """Returns a steered generation's options: a trait's own places and unit are the same."""
    found = cast(protocol.Options, dict(sampling))
    if trait is not None and steering.layers is not None:
        found["layers"] = list(steering.layers)
    if trait is not None and steering.positions is not None:
        found["positions"] = steering.positions
    if trait is not None and steering.unit is not None:
        found["unit"] = steering.unit
    if steering.steers or steering.when or steering.window or steering.limits:
        found["steering"] = steering
    return found


def scalars(text: str | None) -> dict[str, float]:
    """Reads traits and scalars as `--steer` has them: `sarcasm=2,helpfulness=-1`."""
    found: dict[str, float] = {}
    for part in text.split(",") if text is not None else ():
        name, _, scalar = part.partition("=")
        number = options.as_number(scalar)
        if number is None:
            raise typer.BadParameter(
                f"--steer is {text!r}: give traits and scalars like sarcasm=2,helpfulness=-1"
            )
        found[name.strip()] = number
    return found


def default_scalars(
    client: PersonaClient, trait: str, steering: Steering, multiples: Sequence[float]
) -> list[float]:
    """Returns scalars to try: multiples of what does as much as asking in the system prompt does.

    Where that is not known they are twice the multiples, which suits the demo model's vectors.
    """
    if steering.unit == "prompt":
        return list(multiples)
    known = client.trait(trait).unit_scale if steering.layers is None else None
    scale = known or {"negative": 2.0, "positive": 2.0}
    return [
        float(f"{each * scale['negative' if each < 0 else 'positive']:.3g}") for each in multiples
    ]


def series(swept: str, values: str | None, layers: list[int]) -> tuple[Operation, list[float]]:
    """Reads the operation of a sweep, at these layers, and its values."""
    kind, _, trait = swept.partition(":")
    trait, strength = _with_strength("--operation", trait)
    kinds: dict[str, OperationKind] = {"cap": "cap", "floor": "floor", "pin": "pin"}
    if kind not in kinds or not trait:
        raise typer.BadParameter(
            f"--operation is {swept!r}: give cap, floor or pin, as cap:sarcasm"
        )
    if values is None:
        raise typer.BadParameter(f"--operation {swept} needs --values, as 0,5,10 or p50,p90")
    found = [_bound("--values", part) for part in values.split(",")]
    units = {unit for unit, _ in found}
    if len(units) > 1:
        raise typer.BadParameter(f"--values is {values!r}: give numbers or percentiles, not both")
    blocks = tuple(layers) or None
    operation = Operation(trait, kinds[kind], None, units.pop(), strength, blocks)
    return operation, [value for _, value in found]


def _operation(kind: OperationKind, text: str, layers: tuple[int, ...] | None) -> Operation:
    trait, _, bound = text.partition("=")
    if not trait:
        raise typer.BadParameter(f"--{kind} is {text!r}: give a trait and a bound, as sarcasm=p90")
    bound, strength = _with_strength(f"--{kind}", bound)
    unit, value = _bound(f"--{kind}", bound)
    return Operation(trait, kind, value, unit, strength, layers)


def _ablation(text: str, layers: tuple[int, ...] | None) -> Operation:
    trait, strength = _with_strength("--ablate", text)
    return Operation(trait, "ablate", strength=strength, layers=layers)


def _with_strength(option: str, text: str) -> tuple[str, float | None]:
    """Splits what may end with `:` and the share of the change that is made."""
    rest, colon, share = text.partition(":")
    if not colon:
        return text, None
    strength = options.as_number(share)
    if strength is None or not 0 <= strength <= 1:
        raise typer.BadParameter(
            f"{option} has {share!r} for a strength: give a number from 0 to 1, like 0.5"
        )
    return rest, strength


def _condition(text: str) -> Condition:
    return Condition(**_threshold("--when", text, text, "flattery>p90"))


def _limit(text: str) -> Limit:
    example = "flattery>p99:3:report"
    threshold, *more = text.split(":")
    over = int(more.pop(0)) if more and more[0].isdecimal() else None
    action = more.pop(0) if more else None
    if more or action not in (None, "stop", "report"):
        raise typer.BadParameter(f"--limit is {text!r}: give something like {example!r}")
    found = _threshold("--limit", text, threshold, example)
    return Limit(**found, over=over, action=cast(LimitAction, action))


class _Threshold(TypedDict):
    trait: str
    above: float | None
    below: float | None
    unit: Unit | None
    layer: int | None


def _threshold(option: str, text: str, part: str, example: str) -> _Threshold:
    """Reads a bound and what it is for, which is a part of an option's text."""
    sign = ">" if ">" in part else "<"
    trait, _, rest = part.partition(sign)
    bound, _, layer = rest.partition("@")
    if not trait.strip() or not rest or (layer and not layer.strip().isdecimal()):
        raise typer.BadParameter(f"{option} is {text!r}: give something like {example!r}")
    unit, value = _bound(option, bound)
    return {
        "trait": trait.strip(),
        "above": value if sign == ">" else None,
        "below": value if sign == "<" else None,
        "unit": unit,
        "layer": int(layer) if layer else None,
    }


def _window(text: str) -> Window:
    start, *more = text.split(":")
    numbers = [start, *more]
    if not 2 <= len(numbers) <= 3 or any(each and not each.isdecimal() for each in numbers):
        raise typer.BadParameter(f"--window is {text!r}: give FROM:TO or FROM:TO:FADE, as 0:40:10")
    first, last, fade = (int(each) if each else None for each in (*numbers, "")[:3])
    return Window(first or 0, last, fade)


def _bound(option: str, text: str) -> tuple[Unit | None, float]:
    text = text.strip()
    value = options.as_number(text.removeprefix("p"))
    if value is None:
        raise typer.BadParameter(
            f"{option} has {text!r} for a bound: give a number like 2.5, or a percentile like p90"
        )
    return ("percentile" if text.startswith("p") else None), value
