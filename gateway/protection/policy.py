"""Which steering a role may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, FiniteFloat, TypeAdapter

from gateway.caller import Role
from gateway.errors import SteeringRefusedError
from gateway.protection.configuration import parse_json
from triton_models.contract.steering import total_scalars
from triton_models.contract.tensors import Values


def _rising(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] > span[1]:
        raise ValueError("the least scalar is greater than the greatest")
    return span


Span = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_rising)] | None
"""The least and the greatest scalar; `None` is no limit."""


class Rule(BaseModel):
    """What may be done with a trait; every role has to be named, so that none is forgotten."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: Span
    admin: Span
    comment: str = ""


class Policy(BaseModel):
    """What may be done with which trait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Rule
    traits: dict[str, Rule]
    comment: str = ""

    def check(self, role: Role, values: Values) -> None:
        """Makes sure that a role may ask for what a generation's inputs say.

        Scalars of one trait add up. Each has to be within the range as well as their sum: what does
        not add up to much may still be large numbers, whose difference is a matter of rounding.

        Raises:
            SteeringRefusedError: It may not.
        """
        pairs = zip(values.get("trait", ()), values.get("scalar", ()), strict=True)
        for trait, scalar in (*pairs, *total_scalars(values).items()):
            span = getattr(self.traits.get(trait, self.default), role)
            # 0 steers nothing. Written so that what is no number is refused.
            if span and scalar != 0 and not span[0] <= scalar <= span[1]:
                raise SteeringRefusedError(trait, scalar, span, role)


_KIND = TypeAdapter(Policy)


def parse_policy(text: str) -> Policy:
    """Returns the policy that JSON describes.

    Raises:
        ConfigurationError: It describes none.
    """
    return parse_json(text, _KIND)
