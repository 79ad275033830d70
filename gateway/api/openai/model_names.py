"""What a model's name stands for: the model as it is, or steered by what the name says.

Many tools let people choose a model and nothing else. For them `persona:sarcasm=2,flattery=-1` is
the model under that steering.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from gateway.api.dependencies import Gateway
from gateway.api.openai.requests import GenerationFields
from gateway.api.steering_fields import TraitScalar
from gateway.errors import ModelNotFoundError
from triton_models.contract.steering import MAX_TRAITS

Description = Mapping[str, Any]

ALIAS = "persona"
"""Names the model whichever it is."""

_STEERED = f"{ALIAS}:"
_EXAMPLE = f"{_STEERED}sarcasm=2,flattery=-1"
_UNKNOWN_RANGE = (-1.0, 1.0)


def named_traits(
    model: str, description: Description, own: Iterable[str] = ()
) -> list[TraitScalar]:
    """Returns the traits, and their scalars, that a model's name stands for.

    Args:
        model: The name.
        description: What the model server says about itself.
        own: The vectors that the request brings along.

    Raises:
        ModelNotFoundError: It is no model's name, or has unknown traits.
    """
    if model in (ALIAS, description["model"]):
        return []
    if not model.startswith(_STEERED):
        raise ModelNotFoundError(
            f"model {model!a} is not served: use {description['model']!r} or {ALIAS!r}, or a name "
            f"like {_EXAMPLE!r}"
        )
    parts = model.removeprefix(_STEERED).split(",")
    if len(parts) > MAX_TRAITS:
        raise ModelNotFoundError(f"model names {len(parts)} traits: name at most {MAX_TRAITS}")
    known = [*description["traits"], *own]
    return [_trait(part, model, known) for part in parts]


async def asked_traits(body: GenerationFields, gateway: Gateway) -> list[TraitScalar]:
    """Returns what `named_traits` makes of a request's model.

    Raises:
        GatewayError: It has no such model, or the model server cannot be asked.
    """
    description = await gateway.description.get()
    return named_traits(body.model, description, body.steering.vectors or ())


def model_cards(description: Description) -> list[dict[str, Any]]:
    """Returns what `/v1/models` lists.

    For tools that offer a list to choose from: the model, and for each trait the model at both ends
    of the range that the trait's vector recommends, or at -1 and 1 if it recommends none.
    """
    names = [description["model"]]
    for trait, fields in description["traits"].items():
        ends = fields["recommended_range"] or _UNKNOWN_RANGE
        names += [f"{_STEERED}{trait}={end:g}" for end in reversed(ends) if end]
    return [model_card(name, description) for name in names]


def model_card(name: str, description: Description) -> dict[str, Any]:
    """Returns what OpenAI's API says about a model, and vLLM's name for the longest context."""
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "persona-triton",
        "max_model_len": description["model_info"]["context_length"],
    }


def _trait(part: str, model: str, known: Sequence[str]) -> TraitScalar:
    name, _, scalar = (text.strip() for text in part.partition("="))
    try:
        trait = TraitScalar(name=name, scalar=float(scalar))
    except (ValidationError, ValueError):
        raise ModelNotFoundError(
            f"model {model!a} has {part!a} where a trait and its scalar should be: write it like "
            f"{_EXAMPLE!r}"
        ) from None
    if name not in known:
        raise ModelNotFoundError(
            f"model {model!a} names the unknown trait {name!r}: the traits are "
            f"{', '.join(known) or 'none'}"
        )
    return trait
