"""Environment variables, declared as fields of pydantic models and read in one way.

A field that is a `variable` declares one: its name, its type and bounds, its default and what it is
for. Programs that read the same variable share its declaration (`triton_models/settings.py`),
and `scripts/configuration.py` makes the tables of the documentation from all of them.

Not with pydantic-settings: constructing one of its classes always reads the environment of this
process, and never another. Tests, benchmarks and research construct settings that depend on nothing
but their arguments, and the launcher validates the environment that it hands on. Each of Triton's
three Python processes imports pydantic for this, which takes 0.1 s and 5 MiB of memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from typing_extensions import Self

_NUMBERS = {int: "an integer", float: "a number"}


class SettingsError(ValueError):
    """Variables have invalid values: a line for each says what would be valid."""


class Variables(BaseModel):
    """Settings. Those that `variable` declares are read, others are set by arguments alone."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=str.upper),
        validate_by_name=True,
        extra="forbid",
        frozen=True,
    )

    @classmethod
    def variables(cls) -> dict[str, FieldInfo]:
        """Returns the declared variables, by their names."""
        fields = cls.model_fields.values()
        return {str(field.validation_alias): field for field in fields if field.description}

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Reads the variables; an empty one counts as not set.

        Args:
            environment: The variables; by default the process's own.

        Raises:
            SettingsError: A variable has an invalid value. A secret is not repeated.
        """
        source = os.environ if environment is None else environment
        given = {name: source[name] for name in cls.variables() if source.get(name)}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            found = error.errors()
        raise SettingsError("\n".join(cls._problem(each, given) for each in found))

    @classmethod
    def _problem(cls, error: Mapping[str, Any], given: Mapping[str, str]) -> str:
        cause = error.get("ctx", {}).get("error")
        if not error["loc"]:  # of several variables together
            return str(cause)
        name = str(error["loc"][0])
        field = cls.variables()[name]
        shown = "cannot be used" if field.annotation is SecretStr else f"is {given[name]!r}"
        return f"{name} {shown}: {cause or f'use {valid_values(field)}'}"


def variable(
    default: Any,
    description: str,
    *,
    name: str | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Any:
    """Declares a variable, as the value of a field of `Variables`.

    Args:
        default: The setting without it.
        description: What it is for, as the documentation's tables say it.
        name: What it is called, if not as the field in capitals.
        ge: The least that a number may be.
        gt: What a number must be above.
        le: The most that it may be.
    """
    return Field(
        default=default, description=description, validation_alias=name, ge=ge, gt=gt, le=le
    )


def valid_values(field: FieldInfo) -> str:
    """Returns which numbers or words a variable may have; `""` if it is another type."""
    (kind,) = {field.annotation, *get_args(field.annotation)} & _NUMBERS.keys() or {None}
    if kind is None:
        words = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        return f"one of {', '.join(words)}" if words else ""
    bounds = {
        name: getattr(part, name)
        for part in field.metadata
        for name in ("ge", "gt", "le")
        if hasattr(part, name)
    }
    if "gt" in bounds:
        return f"{_NUMBERS[kind]} above {bounds['gt']}, up to {bounds['le']}"
    upper = f"from {bounds['ge']} to {bounds['le']}" if "le" in bounds else f"from {bounds['ge']}"
    return f"{_NUMBERS[kind]} {upper}"


def _true_or_false(value: object) -> object:
    if isinstance(value, str) and value.lower() not in ("true", "false"):
        raise ValueError("use true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
"""`true` or `false`, and none of the other words that pydantic takes for them."""
