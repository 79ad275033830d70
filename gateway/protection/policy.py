"""Which steering a role may ask for, and which it gets whatever it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FiniteFloat,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
)

from gateway.caller import Role
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import SteeringRefusedError
from gateway.protection.configuration import parse_json
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.steering import Enforced, Limit, Operation, OperationKind
from triton_models.contract.steering_document import parse_enforced, parse_vector_operation


def _rising(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the least scalar is greater than the greatest")
    return span


Span = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_rising)] | None
"""The least and the greatest scalar; `None` is no limit."""

_NEEDED: Mapping[OperationKind, tuple[str, Callable[[tuple[float, float]], bool]]] = {
    "cap": ("below 0", lambda span: span[0] < 0),
    "ablate": ("below 0", lambda span: span[0] < 0),
    "floor": ("above 0", lambda span: span[1] > 0),
    "pin": ("below and above 0", lambda span: span[0] < 0 < span[1]),
}
"""Which scalars a role must be allowed to use an operation, which moves hidden states that way."""


NO_OPERATIONS: Mapping[str, Operation] = {}


class Rule(BaseModel):
    """What may be done with a trait; every role has to be named, so that none is forgotten."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: Span
    admin: Span
    comment: str = ""


def _as_enforced(value: Any, info: ValidationInfo) -> Enforced:
    if value is None:
        return Enforced()
    try:
        return parse_enforced(str(info.field_name), value)
    except InvalidArgumentError as error:
        raise ValueError(error.message) from None


EnforcedOnRole = Annotated[Enforced, PlainValidator(_as_enforced)]
"""Operations and limits as a request's `steering` has them; `null` is none."""


class EnforcedByRole(BaseModel):
    """What each role gets with every generation; every role has to be named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: EnforcedOnRole
    admin: EnforcedOnRole
    comment: str = ""


class VectorRule(BaseModel):
    """Who may send vectors in a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: bool
    admin: bool
    comment: str = ""


class Policy(BaseModel):
    """What may be done with which trait, and what is done for each role.

    Attributes:
        vectors: Who may send vectors; `None` leaves that as it is without a policy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Rule
    traits: dict[str, Rule]
    enforced: EnforcedByRole | None = None
    vectors: VectorRule | None = None
    comment: str = ""

    def enforced_on(self, role: Role) -> Enforced:
        """Returns what a role gets with every generation."""
        found: Enforced = getattr(self.enforced, role, Enforced())
        return found

    def warnings(self, traits: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Returns what does not fit the traits that a model server describes."""
        found = []
        if unknown := ", ".join(sorted(self.traits.keys() - traits.keys())):
            found.append(f"POLICY_FILE has rules for unknown traits: {unknown}")
        for role in get_args(Role):
            enforced = self.enforced_on(role)
            bounds: tuple[Operation | Limit, ...] = (*enforced.operations, *enforced.limits)
            for each in bounds:
                if reason := _why_unenforceable(each, traits):
                    found.append(
                        f"POLICY_FILE has {each.trait!r} enforced on the role {role}, and the "
                        f"model has {reason}: it generates nothing for that role"
                    )
        return list(dict.fromkeys(found))

    def check(
        self, role: Role, asked: EnsembleRequest, meant: Mapping[str, Operation] = NO_OPERATIONS
    ) -> None:
        """Makes sure that a role may have a generation steered as it asks.

        Scalars of one trait add up. Each has to be within the range as well as their sum: what does
        not add up to much may still be large numbers, whose difference is a matter of rounding.

        Args:
            role: The role.
            asked: What it asks for.
            meant: What vectors are meant for that are not added; it is checked in place of scalars.

        Raises:
            SteeringRefusedError: It may not.
        """
        for trait, scalar in _scalars(asked):
            span = self._span(role, trait)
            # Written so that what is no number is refused.
            if not span or scalar == 0:
                continue
            if trait in meant:
                _check_operation(role, meant[trait], span)
            elif not span[0] <= scalar <= span[1]:
                raise SteeringRefusedError(
                    f"steering by {trait!r} with {scalar:g} is not allowed: the role {role} may "
                    f"use scalars from {span[0]:g} to {span[1]:g}, each of them and their sum"
                )
        for addition in asked.parsed.steering.traits:
            span = self._span(role, addition.trait)
            if span and addition.scalar != 0 and addition.unit != "raw":
                raise SteeringRefusedError(
                    f"steering by {addition.trait!r} in the unit {addition.unit!r} is not allowed: "
                    f"the role {role} may use scalars from {span[0]:g} to {span[1]:g} in the unit "
                    "'raw'"
                )
        for operation in asked.parsed.steering.operations:
            span = self._span(role, operation.trait)
            if span:
                _check_operation(role, operation, span)

    def _span(self, role: Role, trait: str) -> Span:
        span: Span = getattr(self.traits.get(trait, self.default), role)
        return span


def operations_meant(
    asked: EnsembleRequest, traits: Mapping[str, Mapping[str, Any]]
) -> dict[str, Operation]:
    """Returns what a request's vectors are meant for, those that it brings along among them.

    `traits` are those that a model server describes.
    """
    found = {vector.name: vector.operation for vector in asked.parsed.vectors if vector.operation}
    for trait in asked.scalars:
        if operation := traits.get(trait, {}).get("operation"):
            found[trait] = parse_vector_operation("operation", trait, operation)
    return found


def _why_unenforceable(each: Operation | Limit, traits: Mapping[str, Mapping[str, Any]]) -> str:
    trait = traits.get(each.trait)
    if trait is None:
        return "no such trait"
    if each.unit == "percentile" and not (trait.get("calibration") or {}).get("usable"):
        return "no calibration of it"
    return ""


def _scalars(asked: EnsembleRequest) -> Iterator[tuple[str, float]]:
    yield from zip(asked.values.get("trait", ()), asked.values.get("scalar", ()), strict=True)
    steering = asked.parsed.steering
    yield from ((each.trait, each.scalar) for each in steering.traits)
    yield from steering.totals.items()


def _check_operation(role: Role, operation: Operation, span: tuple[float, float]) -> None:
    needed, is_met = _NEEDED[operation.kind]
    may_use = f"the role {role} may use scalars from {span[0]:g} to {span[1]:g}"
    asks_for = f"{operation.kind} of {operation.trait!r}"
    if not is_met(span):
        raise SteeringRefusedError(
            f"{asks_for} is not allowed: it is for who may use scalars {needed}, and {may_use}"
        )
    # A projection can be bounded as far away as one likes, a percentile is within what it takes on.
    if operation.kind != "ablate" and operation.unit == "raw":
        raise SteeringRefusedError(
            f"{asks_for} at the projection {operation.value:g} is not allowed: {may_use}, and "
            'bounds in the unit "percentile"'
        )


_KIND = TypeAdapter(Policy)


def parse_policy(text: str) -> Policy:
    """Returns the policy that JSON describes.

    Raises:
        ConfigurationError: It describes none.
    """
    return parse_json(text, _KIND)
