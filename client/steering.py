"""What to steer an answer by, as a program says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Positions = Literal["all", "prompt", "response"]
Unit = Literal["raw", "percentile"]
ScalarUnit = Literal["raw", "prompt"]
OperationKind = Literal["cap", "floor", "pin", "ablate"]
LimitAction = Literal["stop", "report"]


@dataclass(frozen=True)
class Addition:
    """How strongly to add a trait's vector, and where, if not as the others.

    Attributes:
        scalar: Above 0 for more of the trait, below for less.
        layers: The decoder blocks to steer; the steering's if `None`.
        positions: Which tokens to steer; the steering's if `None`.
        unit: What the scalar counts; the steering's if `None`.
    """

    scalar: float
    layers: Sequence[int] | None = None
    positions: Positions | None = None
    unit: ScalarUnit | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what a request says, but for the trait's name."""
        return _given(**vars(self))


@dataclass(frozen=True)
class Operation:
    """What bounds how far hidden states point along a trait's direction, after the additions.

    Attributes:
        kind: `cap`: at most the value; `floor`: at least; `pin`: exactly; `ablate`: not at all.
        value: The bound; none for `ablate`, and where a sweep says its values.
        unit: Whether it is a projection (`raw`, if `None`) or a percentile of the calibration.
        strength: The share of the change that is made, from 0 to 1; all of it if `None`.
        layers: The decoder blocks; the vector's own choice if `None`.
    """

    trait: str
    kind: OperationKind
    value: float | None = None
    unit: Unit | None = None
    strength: float | None = None
    layers: Sequence[int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what a request says."""
        return _given(**vars(self))

    def __str__(self) -> str:
        """Says it in words, whatever its strength and layers."""
        bound = "" if self.value is None else f" {_bound(self.value, self.unit)}"
        return f"{self.kind} {self.trait}{bound}"


@dataclass(frozen=True)
class Condition:
    """What a token's own projection must be, before it is steered, for it to be steered.

    Attributes:
        above: The bound that it must be above; or else `below` is given.
        unit: As that of an operation.
        layer: The decoder block whose output is looked at; the first that is steered if `None`.
    """

    trait: str
    above: float | None = None
    below: float | None = None
    unit: Unit | None = None
    layer: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what a request says."""
        return _given(**vars(self))


@dataclass(frozen=True)
class Limit:
    """What ends an answer, or is reported: steered tokens that are beyond a bound.

    Attributes:
        above: The bound that they must not be above; or else `below` is given.
        unit: As that of an operation.
        layer: The decoder block whose output is looked at; the vector's last choice if `None`.
        over: How many tokens in a row must be beyond it; 1 if `None`.
        action: Whether the answer ends then (`stop`, if `None`), or goes on and says so.
    """

    trait: str
    above: float | None = None
    below: float | None = None
    unit: Unit | None = None
    layer: int | None = None
    over: int | None = None
    action: LimitAction | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what a request says."""
        return _given(**vars(self))

    def __str__(self) -> str:
        """Says it in words."""
        side, bound = ("below", self.below) if self.above is None else ("above", self.above)
        over = "" if (self.over or 1) == 1 else f" for {self.over} tokens"
        return f"{self.trait} {side} {_bound(bound, self.unit)}{over}"


@dataclass(frozen=True)
class Window:
    """Which tokens of the answer are steered, counted from 0.

    Attributes:
        start: The first of them.
        end: The first that is steered no more; there is none if `None`.
        fade: Over how many tokens before the end the steering falls to nothing.
    """

    start: int = 0
    end: int | None = None
    fade: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns what a request says."""
        return _given(**{"from": self.start}, to=self.end, fade=self.fade)


@dataclass(frozen=True)
class Steering:
    """What to steer an answer by.

    Attributes:
        traits: Scalars by trait, or `Addition`s; several add up.
        layers: The decoder blocks to steer by them; each vector's own choice if `None`.
        positions: Which tokens to steer by them; all if `None`.
        label: How to call the answer; by what the steering says if `None`.
        operations: What bounds traits after that, in this order.
        when: Which tokens to steer; all if `None`.
        window: Which tokens of the answer to steer; all if `None`.
        limits: What ends the answer, or is reported.
        unit: What the traits' scalars count: multiples of the vector (`raw`, if `None`), or what
            asking in the system prompt does (`prompt`).
    """

    traits: Mapping[str, float | Addition]
    layers: Sequence[int] | None = None
    positions: Positions | None = None
    label: str | None = None
    operations: Sequence[Operation] = ()
    when: Condition | None = None
    window: Window | None = None
    limits: Sequence[Limit] = ()
    unit: ScalarUnit | None = None

    @property
    def steers(self) -> bool:
        """Whether it has anything to steer by."""
        return bool(self.traits or self.operations)

    def to_json(self) -> dict[str, Any]:
        """Returns what a request says."""
        additions = {
            name: each if isinstance(each, Addition) else Addition(each)
            for name, each in self.traits.items()
        }
        return {
            "traits": [{"name": name, **each.to_json()} for name, each in additions.items()],
            **_given(
                layers=self.layers,
                positions=self.positions,
                unit=self.unit,
                operations=[each.to_json() for each in self.operations] or None,
                when=self.when and self.when.to_json(),
                window=self.window and self.window.to_json(),
                limits=[each.to_json() for each in self.limits] or None,
                label=self.label,
            ),
        }

    def to_document(self) -> dict[str, Any]:
        """Returns what Triton's input `steering` says: every trait has its own place there."""
        body = self.to_json()
        body.pop("label", None)
        places = {name: body.pop(name) for name in ("layers", "positions", "unit") if name in body}
        return {**body, "traits": [{**places, **trait} for trait in body["traits"]]}


def as_steering(given: Steering | Mapping[str, float]) -> Steering:
    """Makes a steering of what may be scalars by trait."""
    return given if isinstance(given, Steering) else Steering(given)


def _bound(value: float | None, unit: Unit | None) -> str:
    return f"p{value:g}" if unit == "percentile" else f"{value:g}"


def _given(**fields: Any) -> dict[str, Any]:
    """Returns the fields that are not left out, as JSON has them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in fields.items()
        if value is not None
    }
