"""The full form of steering: the JSON of the input `steering`."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.json_input import parse_json
from triton_models.contract.steering import (
    LIMIT_ACTIONS,
    MAX_ENFORCED_OPERATIONS,
    MAX_LIMITS,
    MAX_OPERATIONS,
    MAX_TRAITS,
    OPERATION_KINDS,
    POSITIONS,
    SCALAR_UNITS,
    UNITS,
    Addition,
    Condition,
    Enforced,
    Limit,
    Operation,
    SteeringParameters,
    Unit,
    Window,
    check_trait_length,
    checked_layers,
    parse_short_steering,
)
from triton_models.contract.tensors import Values
from triton_models.contract.values import nearest_float32, string

EXAMPLE = '{"traits": [{"name": "sarcasm", "scalar": 1.5}]}'

MAX_TOKENS = 2**31 - 1

T = TypeVar("T")


def parse_steering(values: Values) -> SteeringParameters:
    """Makes a steering of the values of `tensors.STEERING_INPUTS`; others are ignored.

    Raises:
        InvalidArgumentError: A value is malformed, out of range or given twice.
    """
    short, text = parse_short_steering(values), string(values, "steering")
    if not text:
        return short
    steering = _with_document(short, parse_json("steering", text, EXAMPLE))
    if len(steering.additions) > MAX_TRAITS:
        raise InvalidArgumentError(
            f"{len(steering.additions)} traits are too many: give at most {MAX_TRAITS}"
        )
    if steering.when is not None and not (steering.additions or steering.operations):
        raise InvalidArgumentError("steering.when has nothing to steer: give traits or operations")
    return steering


def _with_document(short: SteeringParameters, document: Any) -> SteeringParameters:
    names = ("traits", "operations", "when", "window", "limits", "enforced")
    fields = _Fields("steering", document, names)
    return dataclasses.replace(
        short,
        traits=fields.list("traits", _addition),
        operations=_operations(fields, MAX_OPERATIONS),
        when=fields.object("when", _condition),
        window=fields.object("window", _window),
        limits=_limits(fields),
        enforced=fields.object("enforced", parse_enforced) or Enforced(),
    )


def parse_enforced(path: str, value: Any) -> Enforced:
    """Makes what a policy enforces of its description, which stands at `path` in a document.

    Raises:
        InvalidArgumentError: A value is malformed or out of range.
    """
    fields = _Fields(path, value, ("operations", "limits"))
    return Enforced(_operations(fields, MAX_ENFORCED_OPERATIONS), _limits(fields))


def _addition(path: str, value: Any) -> Addition:
    fields = _Fields(path, value, ("name", "scalar", "layers", "positions", "unit"))
    return Addition(
        fields.trait("name"),
        fields.number("scalar"),
        fields.layers(),
        fields.one_of("positions", POSITIONS, "all"),
        fields.one_of("unit", SCALAR_UNITS, "raw"),
    )


def _operation(path: str, value: Any) -> Operation:
    fields = _Fields(path, value, ("trait", "kind", "value", "unit", "strength", "layers"))
    kind = fields.one_of("kind", OPERATION_KINDS)
    trait, layers = fields.trait("trait"), fields.layers()
    strength = fields.number("strength", 1.0, 0.0, 1.0)
    if kind == "ablate":
        for name in ("value", "unit"):
            if fields.get(name) is not None:
                raise InvalidArgumentError(
                    f"{path}.{name} is given, and ablate always removes all: leave it out, or pin"
                )
        return Operation(trait, kind, strength=strength, layers=layers)
    unit, bound = fields.bound("value")
    return Operation(trait, kind, bound, unit, strength, layers)


def parse_vector_operation(path: str, trait: str, value: Any) -> Operation:
    """Makes the operation that a vector is meant for of its description.

    Args:
        path: Where it stands, for messages about it.
        trait: The vector's.
        value: The kind alone, or an object with `kind`, `value` and `unit` as a request has them.

    Raises:
        InvalidArgumentError: It is malformed or out of range.
    """
    fields = {"kind": value} if isinstance(value, str) else value
    _Fields(path, fields, ("kind", "value", "unit"))
    return _operation(path, {**fields, "trait": trait})


def vector_operation_json(operation: Operation) -> dict[str, Any]:
    """Returns the object that `parse_vector_operation` reads."""
    if operation.kind == "ablate":
        return {"kind": operation.kind}
    return {"kind": operation.kind, "value": operation.value, "unit": operation.unit}


def _condition(path: str, value: Any) -> Condition:
    fields = _Fields(path, value, ("trait", "above", "below", "unit", "layer"))
    trait, layer = fields.trait("trait"), fields.integer("layer", None, 0)
    above, unit, bound = fields.one_bound()
    return Condition(trait, bound, above, unit, layer)


def _limit(path: str, value: Any) -> Limit:
    names = ("trait", "above", "below", "unit", "layer", "over", "action")
    fields = _Fields(path, value, names)
    trait, layer = fields.trait("trait"), fields.integer("layer", None, 0)
    above, unit, bound = fields.one_bound()
    over = fields.integer("over", 1, 1) or 1
    action = fields.one_of("action", LIMIT_ACTIONS, "stop")
    return Limit(trait, bound, above, unit, layer, over, action)


def _window(path: str, value: Any) -> Window:
    fields = _Fields(path, value, ("from", "to", "fade"))
    start = fields.integer("from", 0, 0) or 0
    end, fade = fields.integer("to", None, 1), fields.integer("fade", 0, 0) or 0
    if end is not None and end <= start:
        raise InvalidArgumentError(
            f"{path} has from = {start} and to = {end}, which holds no token: to is the first "
            "token after it, and must be larger"
        )
    if fade and end is None:
        raise InvalidArgumentError(f"{path}.fade is {fade} tokens before to: give to as well")
    if end is not None and fade > end - start:
        raise InvalidArgumentError(f"{path}.fade is {fade}: the window has {end - start} tokens")
    return Window(start, end, fade)


def _operations(fields: _Fields, most: int) -> tuple[Operation, ...]:
    """Returns the operations of an object, and makes sure that not too many meet at a block.

    What depends on vectors is checked again when these are known.
    """
    operations = fields.list("operations", _operation)
    counts = Counter(layer for each in operations for layer in each.layers or ())
    check_operations_per_block(fields.path, counts, most)
    if len(operations) > most * MAX_TRAITS:
        raise InvalidArgumentError(
            f"{fields.path} has {len(operations)} operations: give at most {most} at a block"
        )
    return operations


def _limits(fields: _Fields) -> tuple[Limit, ...]:
    limits = fields.list("limits", _limit)
    if len(limits) > MAX_LIMITS:
        raise InvalidArgumentError(
            f"{fields.path} has {len(limits)} limits: give at most {MAX_LIMITS}"
        )
    return limits


def check_operations_per_block(path: str, counts: Mapping[int, int], most: int) -> None:
    """Raises `InvalidArgumentError` if what stands at `path` has too many operations at a block."""
    for block, count in counts.items():
        if count > most:
            raise InvalidArgumentError(
                f"{path} has {count} operations at layer {block}: give at most {most}"
            )


class _Fields:
    """The fields of an object in the document; `null` counts as left out.

    Attributes:
        path: Where it stands, for messages about it.

    Args:
        path: See above.
        value: The object.
        names: The fields that it may have.

    Raises:
        InvalidArgumentError: It is no object, or has others. All methods raise it for a bad value.
    """

    def __init__(self, path: str, value: Any, names: tuple[str, ...]) -> None:
        if not isinstance(value, dict):
            raise InvalidArgumentError(
                f"{path} is {reprlib.repr(value)}: give an object with {', '.join(names)}"
            )
        for name in value:
            if name not in names:
                raise InvalidArgumentError(
                    f"{path} has {reprlib.repr(name)}: use {', '.join(names)}"
                )
        self.path, self._value = path, value

    def get(self, name: str) -> Any:
        return self._value.get(name)

    def list(self, name: str, parse: Callable[[str, Any], T]) -> tuple[T, ...]:
        values = self.get(name)
        if values is None:
            return ()
        if not isinstance(values, list):
            raise self._wrong(name, "a list of objects")
        return tuple(
            parse(f"{self.path}.{name}[{index}]", value) for index, value in enumerate(values)
        )

    def object(self, name: str, parse: Callable[[str, Any], T]) -> T | None:
        value = self.get(name)
        return None if value is None else parse(f"{self.path}.{name}", value)

    def trait(self, name: str) -> str:
        trait = self.get(name)
        if not isinstance(trait, str) or not trait:
            raise self._wrong(name, "the name of a trait")
        check_trait_length(trait)
        return trait

    def one_of(self, name: str, choices: tuple[Any, ...], default: Any = None) -> Any:
        value = default if self.get(name) is None else self.get(name)
        if value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return value

    def number(
        self,
        name: str,
        default: float | None = None,
        low: float = -math.inf,
        high: float = math.inf,
    ) -> float:
        value = default if self.get(name) is None else self.get(name)
        wanted = f"a number from {low:g} to {high:g}"
        if math.isinf(high):
            wanted = "a finite number that float32 can hold"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, wanted)
        try:
            number = float(value)
        except OverflowError:
            raise self._wrong(name, wanted) from None
        narrow = nearest_float32(number)
        # Answers and other programs have them as float32: none may become another number there.
        is_held = math.isfinite(narrow) and bool(narrow) == bool(number)
        if not is_held or not low <= number <= high:
            raise self._wrong(name, wanted)
        return number

    def integer(self, name: str, default: int | None, low: int) -> int | None:
        value = default if self.get(name) is None else self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_TOKENS:
            raise self._wrong(name, f"an integer from {low} to {MAX_TOKENS}")
        return value

    def bound(self, name: str) -> tuple[Unit, float]:
        """Returns a bound and its unit, which the field `unit` names."""
        unit = self.one_of("unit", UNITS, "raw")
        return unit, self.number(name, None, *((0.0, 100.0) if unit == "percentile" else ()))

    def one_bound(self) -> tuple[bool, Unit, float]:
        """Returns whether `above` is given, or else `below`, and the bound's unit and value."""
        given = [name for name in ("above", "below") if self.get(name) is not None]
        if len(given) != 1:
            raise InvalidArgumentError(
                f"{self.path} has {len(given)} of above and below: give one of them"
            )
        return given[0] == "above", *self.bound(given[0])

    def layers(self) -> tuple[int, ...] | None:
        layers = self.get("layers")
        if layers is None:
            return None
        is_list = isinstance(layers, list) and layers
        if not is_list or not all(_is_integer(layer) for layer in layers):
            raise self._wrong("layers", "a list of 0-based decoder blocks")
        return checked_layers(f"{self.path}.layers", layers)

    def _wrong(self, name: str, wanted: str) -> InvalidArgumentError:
        value = self.get(name)
        given = "left out" if value is None else reprlib.repr(value)
        return InvalidArgumentError(f"{self.path}.{name} is {given}: give {wanted}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
