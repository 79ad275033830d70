"""Steering as a request describes it.

It has a short form, a scalar for each trait, and a full one, the JSON of `steering`, which has
operations, a condition, a window and limits as well. Both may be given: they add up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.tensors import Values
from triton_models.contract.values import string

Positions = Literal["all", "prompt", "response"]
POSITIONS: tuple[Positions, ...] = ("all", "prompt", "response")

OperationKind = Literal["cap", "floor", "pin", "ablate"]
OPERATION_KINDS: tuple[OperationKind, ...] = ("cap", "floor", "pin", "ablate")

LimitAction = Literal["stop", "report"]
LIMIT_ACTIONS: tuple[LimitAction, ...] = ("stop", "report")

Unit = Literal["raw", "percentile"]
UNITS: tuple[Unit, ...] = ("raw", "percentile")

ScalarUnit = Literal["raw", "prompt"]
SCALAR_UNITS: tuple[ScalarUnit, ...] = ("raw", "prompt")

MAX_TRAITS = 16
MAX_TRAIT_CHARS = 256
MAX_LAYERS = 1024
MAX_OPERATIONS = 4
"""The maximum number of operations of a request at one block."""
MAX_ENFORCED_OPERATIONS = 4
"""The maximum number of operations at one block that a policy adds to those of a request."""
OPERATION_PLACES = MAX_OPERATIONS + MAX_ENFORCED_OPERATIONS
"""The maximum number of operations at one block in all."""
MAX_LIMITS = 16
"""The maximum number of limits of a request, and of a policy."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A multiple of a trait's vector that is added to the residual stream.

    If the vector is meant for an operation, it stands for that operation, before the others.

    Attributes:
        scalar: The multiple, or the operation's strength, from 0 to 1.
        layers: 0-based decoder blocks to steer; `None` uses the vector's selected blocks.
        positions: `all` tokens, those of the `prompt` only, or those of the `response` only (the
            generated tokens; the prompt's last token belongs to the prompt).
        unit: Whether the scalar multiplies the vector (`raw`), or 1 is as much as asking for the
            trait in the system prompt, and -1 as much as asking for its opposite (`prompt`).
    """

    trait: str
    scalar: float
    layers: tuple[int, ...] | None = None
    positions: Positions = "all"
    unit: ScalarUnit = "raw"


@dataclass(frozen=True, slots=True)
class Operation:
    """What bounds the projection p = h.v of hidden states onto a trait's unit vector v.

    It changes that component alone: h += strength * (clip(p, low, high) - p) * v.

    Attributes:
        kind: `cap` sets `high` to the value, `floor` sets `low`, `pin` sets both, and `ablate` sets
            both to 0.
        value: The bound; 0 for `ablate`.
        unit: Whether the bound is a projection, or a percentile of the trait's calibration.
        strength: From 0 to 1: the share of the change that is made.
        layers: 0-based decoder blocks; `None` uses the vector's selected blocks.
    """

    trait: str
    kind: OperationKind
    value: float = 0.0
    unit: Unit = "raw"
    strength: float = 1.0
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """When steering applies: a token is steered from the block on that is looked at if it meets it.

    Attributes:
        bound: What the token's projection onto the trait's unit vector is compared with.
        above: Whether it must be above the bound, or below it.
        layer: The 0-based decoder block whose output is looked at, before it is steered; `None` is
            the first one that is steered.
    """

    trait: str
    bound: float
    above: bool
    unit: Unit = "raw"
    layer: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The generated tokens that are steered; those of the prompt are as `positions` says.

    Attributes:
        start: The first of them, counted from 0.
        end: The first one that is not steered any more; `None` has no end.
        fade: Over how many tokens before `end` the steering falls to nothing, in equal steps.
    """

    start: int = 0
    end: int | None = None
    fade: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """What happens when an answer's tokens show too much of a trait, or too little.

    Attributes:
        bound: What a token's projection onto the trait's unit vector must not go beyond.
        above: Whether beyond is above the bound, or below it.
        layer: The 0-based decoder block whose steered output is looked at; `None` is the last of
            those that the vector selects.
        over: How many tokens in a row must be beyond it.
        action: Whether the answer ends then, or says so and goes on.
    """

    trait: str
    bound: float
    above: bool
    unit: Unit = "raw"
    layer: int | None = None
    over: int = 1
    action: LimitAction = "stop"


@dataclass(frozen=True, slots=True)
class Enforced:
    """What a policy adds to a request, which cannot loosen it.

    Attributes:
        operations: Applied after the request's own to all tokens, whatever its condition and window
            say.
        limits: Kept besides the request's own.
    """

    operations: tuple[Operation, ...] = ()
    limits: tuple[Limit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.operations or self.limits)


@dataclass(frozen=True, slots=True)
class SteeringParameters:
    """What to add to the residual stream, how to bound it, where and when.

    Attributes:
        scalars: The short form: the scalar of each trait; one that is named twice has the sum.
        layers: Those of the short form's additions.
        positions: Those of the short form's additions.
        traits: The full form's additions, which come on top.
        operations: Applied after the additions, in this order.
        when: When all of that applies; `None` is always.
        window: Which generated tokens it applies to; `None` is all.
        limits: What ends the answer, or is reported.
        enforced: What applies besides, always and to all tokens.
    """

    scalars: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[int, ...] | None = None
    positions: Positions = "all"
    traits: tuple[Addition, ...] = ()
    operations: tuple[Operation, ...] = ()
    when: Condition | None = None
    window: Window | None = None
    limits: tuple[Limit, ...] = ()
    enforced: Enforced = Enforced()

    @property
    def additions(self) -> tuple[Addition, ...]:
        """The additions of both forms."""
        short = (
            Addition(trait, scalar, self.layers, self.positions)
            for trait, scalar in self.scalars.items()
        )
        return (*short, *self.traits)

    @property
    def totals(self) -> dict[str, float]:
        """The sum of each trait's scalars, whatever their layers, positions and units."""
        return summed((each.trait, each.scalar) for each in self.additions)


def parse_short_steering(values: Values) -> SteeringParameters:
    """Makes a steering of `trait`, `scalar`, `layers` and `positions`; other values are ignored.

    Raises:
        InvalidArgumentError: A value is malformed, out of range or given twice.
    """
    traits = [str(trait) for trait in values.get("trait", ())]
    scalars = [float(scalar) for scalar in values.get("scalar", ())]
    if len(traits) != len(scalars):
        raise InvalidArgumentError(
            f"trait has {len(traits)} elements and scalar has {len(scalars)}: give one scalar for "
            "each trait"
        )
    if len(traits) > MAX_TRAITS:
        raise InvalidArgumentError(f"{len(traits)} traits are too many: give at most {MAX_TRAITS}")
    for trait, scalar in zip(traits, scalars, strict=True):
        if not trait:
            raise InvalidArgumentError("a trait is empty: name one, or leave trait and scalar out")
        check_trait_length(trait)
        if not math.isfinite(scalar):
            raise InvalidArgumentError(
                f"the scalar of {trait!r} is {scalar}: it must be a finite number"
            )
    positions = string(values, "positions") or "all"
    if positions not in POSITIONS:
        raise InvalidArgumentError(f"positions is {positions!r}: use one of {', '.join(POSITIONS)}")
    return SteeringParameters(total_scalars(values), layers_of(values, "layers"), positions)


def total_scalars(values: Values) -> dict[str, float]:
    """Returns the sum of each trait's scalars in the short form.

    Elements of `trait` and `scalar` without a counterpart are ignored.
    """
    pairs = zip(values.get("trait", ()), values.get("scalar", ()), strict=False)
    return summed((str(trait), float(scalar)) for trait, scalar in pairs)


def summed(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Returns the sum of each trait's scalars, infinity if it overflows."""
    scalars: dict[str, list[float]] = {}
    for trait, scalar in pairs:
        scalars.setdefault(trait, []).append(scalar)
    return {trait: _sum(each) for trait, each in scalars.items()}


def _sum(scalars: list[float]) -> float:
    try:
        return math.fsum(scalars)
    except OverflowError:
        return math.inf


def check_trait_length(trait: str) -> None:
    """Raises `InvalidArgumentError` if a trait's name is too long."""
    if len(trait) > MAX_TRAIT_CHARS:
        raise InvalidArgumentError(
            f"a trait's name has {len(trait)} characters: the maximum is {MAX_TRAIT_CHARS}"
        )


def layers_of(values: Values, name: str) -> tuple[int, ...] | None:
    """Returns layers in rising order; `None` if they are left out.

    Raises:
        InvalidArgumentError: They are too many, negative, or the same twice.
    """
    layers = [int(layer) for layer in values.get(name, ())]
    return checked_layers(name, layers) if layers else None


def checked_layers(name: str, layers: list[int]) -> tuple[int, ...]:
    """Returns layers in rising order.

    Raises:
        InvalidArgumentError: They are too many, negative, or the same twice.
    """
    if len(layers) > MAX_LAYERS:
        raise InvalidArgumentError(f"{len(layers)} {name} are too many: give at most {MAX_LAYERS}")
    if len(set(layers)) < len(layers) or min(layers) < 0:
        raise InvalidArgumentError(
            f"{name} is {layers}: give different 0-based decoder blocks, each once"
        )
    return tuple(sorted(layers))
