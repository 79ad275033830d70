"""How much of a vector is as much as asking for the trait in the system prompt.

In a vector's metadata it is

    {"unit_scale": {"model", "weights_sha256", "judge", "num_questions",
                    "layers": {"12": {"positive": {"scalar": 1.8, "share": 1.0,
                                                   "divergence": 0.41},
                                      "negative": null}, "11+12": {...}}}}

with the blocks that were steered together, and for each pole the scalar, above 0, at which steering
moves the judge's score as far as the pole's system prompts do, or comes nearest: its `share` of it.
It is `null` where no scalar came near. Nothing looks at it before it is used, so that a vector with
a malformed one still steers.
"""

from __future__ import annotations

import dataclasses
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triton_models.contract.errors import InvalidArgumentError
from triton_models.vectors.calibration import ModelIdentity
from triton_models.vectors.persona_vector import PersonaVector

UNIT_SCALE = "unit_scale"
"""The metadata's key."""


@dataclass(frozen=True, slots=True)
class PoleScale:
    """The scalar that does as much as asking for a pole.

    Attributes:
        scalar: Above 0 for both poles; a request's scalar has the sign.
        share: How much of what asking does it does, at most 1.
        divergence: Of the model steered by it from itself, in nats per token; `None` if unknown.
    """

    scalar: float
    share: float = 1.0
    divergence: float | None = None


@dataclass(frozen=True, slots=True)
class UnitScale:
    """The scalars that do as much as asking for the trait, and for its opposite; `None` if none."""

    positive: PoleScale | None
    negative: PoleScale | None


def layers_key(layers: Sequence[int]) -> str:
    """Returns how the metadata calls blocks that are steered together."""
    return "+".join(map(str, sorted(layers)))


def unit_scale_document(
    found: Mapping[tuple[int, ...], UnitScale], model: ModelIdentity, judge: str, num_questions: int
) -> dict[str, Any]:
    """Returns what the metadata says of the scales at some sets of blocks."""
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "judge": judge,
        "num_questions": num_questions,
        "layers": {
            layers_key(layers): dataclasses.asdict(scale) for layers, scale in found.items()
        },
    }


def raw_scalar(
    vector: PersonaVector,
    layers: Sequence[int],
    scalar: float,
    model: ModelIdentity | None = None,
) -> float:
    """Returns the factor of a vector that a scalar in the unit `prompt` stands for.

    Raises:
        InvalidArgumentError: It was not measured for the blocks, or for the model if one is given;
            or no scalar did as much as asking does; the message names the trait.
    """
    if scalar == 0:
        return 0.0
    trait, remedy = vector.trait_name, "give the scalar in the unit raw"
    document = vector.metadata.get(UNIT_SCALE)
    if document is None:
        raise InvalidArgumentError(
            f"the vector of {trait!r} has no unit_scale: run 'persona vectors calibrate {trait}', "
            f"or {remedy}"
        )
    by_layers = document.get("layers") if isinstance(document, dict) else None
    if not isinstance(by_layers, dict):
        raise _malformed(trait, document)
    measured = ModelIdentity(
        str(document.get("model", "")), str(document.get("weights_sha256", ""))
    )
    if model is not None and not measured.is_same(model):
        raise InvalidArgumentError(
            f"the unit_scale of {trait!r} was measured with the model {measured}, but this is "
            f"{model}: run 'persona vectors calibrate {trait}', or {remedy}"
        )
    scales = by_layers.get(layers_key(layers))
    if scales is None:
        raise InvalidArgumentError(
            f"the unit_scale of {trait!r} was not measured at layers {list(layers)}, only at "
            f"{', '.join(by_layers) or 'none'}: steer there, or {remedy}"
        )
    pole = "positive" if scalar > 0 else "negative"
    found = scales.get(pole, ()) if isinstance(scales, dict) else ()
    if found is None:
        raise InvalidArgumentError(
            f"no scalar of {trait!r} did as much as its {pole} system prompts: {remedy}"
        )
    factor: Any = found.get("scalar") if isinstance(found, dict) else None
    is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not (is_number and 0 < factor <= sys.float_info.max):
        raise _malformed(trait, document)
    return scalar * float(factor)


def _malformed(trait: str, document: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the unit_scale of {trait!r} cannot be used: it is {reprlib.repr(document)}: run 'persona "
        f"vectors calibrate {trait}', or give the scalar in the unit raw"
    )
