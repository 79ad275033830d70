"""What a request says about how to steer: the same wherever it says it.

The models have the names and types. What the numbers may be, and how many operations there may be,
is checked by the contract's own `parse_steering`, as of all that is asked of the ensemble.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from gateway.api.field_types import (
    Float32,
    Int32,
    Layers,
    OptionalScalarUnit,
    Positions,
    TraitName,
    is_empty,
    is_none,
    shown_range,
)
from triton_models.contract.steering import (
    MAX_LIMITS,
    MAX_OPERATIONS,
    MAX_TRAITS,
    LimitAction,
    Unit,
)

SteeredTrait = Annotated[
    TraitName, Field(min_length=1, description="The trait; see `/api/v1/traits`.")
]

OptionalUnit = Annotated[
    Unit | None,
    Field(
        description=(
            "Whether the bound is a projection, `raw`, or a `percentile`, 0 to 100, of what the "
            "trait's calibration found. Default: raw."
        )
    ),
]
Strength = Annotated[
    Float32 | None,
    Field(
        description="Which share of the change to make. Default: 1, all of it.",
        json_schema_extra=shown_range(0, 1),
    ),
]

_ABLATES: JsonValue = {
    "properties": {"kind": {"const": "ablate"}, "value": {"type": "null"}, "unit": {"type": "null"}}
}
_BOUNDS: JsonValue = {
    "properties": {"kind": {"not": {"const": "ablate"}}, "value": {"type": "number"}},
    "required": ["value"],
}
NOTHING = "there is nothing to steer by: give traits, operations or limits"

STEERS: list[JsonValue] = [
    {"properties": {name: {"type": "array", "minItems": 1}}, "required": [name]}
    for name in ("traits", "operations", "limits")
]
"""The documentation of what there is to steer by."""

_ONE_BOUND: JsonValue = [
    {
        "properties": {given: {"type": "number"}, other: {"type": "null"}},
        "required": [given],
    }
    for given, other in (("above", "below"), ("below", "above"))
]


class TraitScalar(BaseModel):
    """A trait, and how strongly to steer by it."""

    model_config = ConfigDict(extra="forbid")

    name: SteeredTrait
    scalar: Float32 = Field(
        description="How strongly: positive for more of the trait, negative for less, 0 for none."
    )
    layers: Layers = Field(default=None, exclude_if=is_none)
    positions: Positions = Field(default=None, exclude_if=is_none)
    unit: OptionalScalarUnit = Field(default=None, exclude_if=is_none)

    @property
    def title(self) -> str:
        """It, in words, whatever its layers and positions."""
        unit = f" {self.unit}" if self.unit not in (None, "raw") else ""
        return f"{self.name} {self.scalar:+g}{unit}"


class SweptOperation(BaseModel):
    """A bound for a trait's projection, whose value is said elsewhere."""

    model_config = ConfigDict(extra="forbid")

    trait: SteeredTrait
    kind: Literal["cap", "floor", "pin"] = Field(
        description="`cap`: at most the value; `floor`: at least; `pin`: exactly."
    )
    unit: OptionalUnit = Field(default=None, exclude_if=is_none)
    strength: Strength = Field(default=None, exclude_if=is_none)
    layers: Layers = Field(default=None, exclude_if=is_none)

    def at(self, value: float) -> Operation:
        """Returns the operation that has this value."""
        return Operation(**self.model_dump(), value=value)


class Operation(BaseModel):
    """What bounds the projection of hidden states onto the direction of a trait's vector."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"anyOf": [_ABLATES, _BOUNDS]})

    trait: SteeredTrait
    kind: Literal["cap", "floor", "pin", "ablate"] = Field(
        description=(
            "`cap`: at most the value; `floor`: at least; `pin`: exactly; `ablate`: nothing is "
            "left of it, as `pin` at 0."
        )
    )
    value: Float32 | None = Field(
        default=None, exclude_if=is_none, description="The bound; `ablate` has none."
    )
    unit: OptionalUnit = Field(default=None, exclude_if=is_none)
    strength: Strength = Field(default=None, exclude_if=is_none)
    layers: Layers = Field(default=None, exclude_if=is_none)

    @property
    def title(self) -> str:
        """It, in words."""
        if self.value is None:
            return f"{self.kind} {self.trait}"
        return f"{self.kind} {self.trait} {_bound(self.value, self.unit)}"


class _Threshold(BaseModel):
    """What a trait's projection is compared with."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"oneOf": _ONE_BOUND})

    trait: SteeredTrait
    above: Float32 | None = Field(default=None, exclude_if=is_none)
    below: Float32 | None = Field(default=None, exclude_if=is_none)
    unit: OptionalUnit = Field(default=None, exclude_if=is_none)

    @property
    def words(self) -> str:
        """The trait and its bound."""
        bounds = (("above", self.above), ("below", self.below))
        words = [
            f"{name} {_bound(value, self.unit)}" for name, value in bounds if value is not None
        ]
        return f"{self.trait} {' '.join(words)}"


class Condition(_Threshold):
    """What a token's own projection must be, before it is steered, for it to be steered."""

    layer: Int32 | None = Field(
        default=None,
        exclude_if=is_none,
        description=(
            "The decoder block, from 0, whose output is looked at: no later than the first that is "
            "steered, which is the default."
        ),
        json_schema_extra=shown_range(0),
    )

    @property
    def title(self) -> str:
        """It, in words."""
        return f"when {self.words}"


class Limit(_Threshold):
    """What ends the answer, or is reported: steered tokens that are beyond a bound."""

    layer: Int32 | None = Field(
        default=None,
        exclude_if=is_none,
        description=(
            "The decoder block, from 0, whose output is looked at. Default: the last that the "
            "vector selects."
        ),
        json_schema_extra=shown_range(0),
    )
    over: Int32 | None = Field(
        default=None,
        exclude_if=is_none,
        description="How many tokens in a row must be beyond the bound. Default: 1.",
        json_schema_extra=shown_range(1),
    )
    action: LimitAction | None = Field(
        default=None,
        exclude_if=is_none,
        description="Whether the answer ends then, or goes on and says so. Default: stop.",
    )

    @property
    def title(self) -> str:
        """It, in words."""
        over = "" if (self.over or 1) == 1 else f" for {self.over} tokens"
        return f"{self.action or 'stop'} at {self.words}{over}"


class Window(BaseModel):
    """Which tokens of the answer are steered, counted from 0."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    start: Int32 | None = Field(
        default=None,
        alias="from",
        exclude_if=is_none,
        description="The first of them. Default: 0.",
        json_schema_extra=shown_range(0),
    )
    to: Int32 | None = Field(
        default=None,
        exclude_if=is_none,
        description="The first that is steered no more. Default: there is none.",
        json_schema_extra=shown_range(1),
    )
    fade: Int32 | None = Field(
        default=None,
        exclude_if=is_none,
        description="Over how many tokens before `to` the steering falls to nothing.",
        json_schema_extra=shown_range(0),
    )

    @property
    def title(self) -> str:
        """It, in words."""
        end = "" if self.to is None else f" to {self.to}"
        return f"from {self.start or 0}{end}"


class SteeringFields(BaseModel):
    """What to add to the hidden states, how to bound them, when and where, and when to stop."""

    model_config = ConfigDict(extra="forbid")

    traits: list[TraitScalar] = Field(
        default=[],
        fail_fast=True,
        max_length=MAX_TRAITS,
        description="What to add; several add up.",
    )
    layers: Layers = Field(
        default=None,
        description=(
            "Decoder blocks to steer by the traits that name none, from 0. Default: each vector's "
            "own choice."
        ),
    )
    positions: Positions = Field(
        default=None,
        description="Which tokens to steer by the traits that do not say so. Default: all.",
    )
    unit: OptionalScalarUnit = Field(
        default=None,
        exclude_if=is_none,
        description="The unit of the traits' scalars that name none. Default: raw.",
    )
    operations: list[Operation] = Field(
        default=[],
        exclude_if=is_empty,
        fail_fast=True,
        max_length=MAX_OPERATIONS * MAX_TRAITS,
        description="How to bound traits after the additions, in this order; 4 at a block.",
    )
    when: Condition | None = Field(
        default=None, exclude_if=is_none, description="When to steer a token. Default: always."
    )
    window: Window | None = Field(
        default=None,
        exclude_if=is_none,
        description="Which tokens of the answer to steer. Default: all.",
    )
    limits: list[Limit] = Field(
        default=[],
        exclude_if=is_empty,
        fail_fast=True,
        max_length=MAX_LIMITS,
        description="What ends the answer, or is reported with it.",
    )

    @property
    def title(self) -> str:
        """It, in words, whatever its layers and positions."""
        words = [each.title for each in self.placed_traits]
        words += [each.title for each in self.operations]
        words += [each.title for each in (self.when, self.window) if each is not None]
        words += [each.title for each in self.limits]
        return ", ".join(words)

    @property
    def steers(self) -> bool:
        """Whether there is anything to steer by, or to look at."""
        return bool(self.traits or self.operations or self.limits)

    @property
    def named_traits(self) -> set[str]:
        """The traits that it names anywhere."""
        names = {each.name for each in self.traits} | {each.trait for each in self.operations}
        names |= {each.trait for each in self.limits}
        return names if self.when is None else names | {self.when.trait}

    @property
    def placed_traits(self) -> list[TraitScalar]:
        """The traits, with the layers, positions and unit that hold for each."""
        return [
            each.model_copy(
                update={
                    "layers": each.layers or self.layers,
                    "positions": each.positions or self.positions,
                    "unit": each.unit or self.unit,
                }
            )
            for each in self.traits
        ]

    def plus(
        self, traits: Iterable[TraitScalar] = (), operations: Iterable[Operation] = ()
    ) -> SteeringFields:
        """Returns it with more, for which its own layers, positions and unit do not hold."""
        more = {
            "traits": [*traits, *self.placed_traits],
            "operations": [*self.operations, *operations],
            "layers": None,
            "positions": None,
            "unit": None,
        }
        return self.model_copy(update=more)


class Steering(SteeringFields):
    """What to steer an answer by."""

    model_config = ConfigDict(json_schema_extra={"anyOf": STEERS})

    @model_validator(mode="after")
    def _steers(self) -> Steering:
        if not self.steers:
            raise ValueError(NOTHING)
        return self


def _bound(value: float, unit: Unit | None) -> str:
    return f"p{value:g}" if unit == "percentile" else f"{value:g}"
