"""Calibrations in the metadata of vectors.

In a vector's metadata it is

    {"calibration": {"model", "weights_sha256", "num_answers", "num_tokens", "seed", "blocks":
        {"15": {"neutral": {"tokens": {"quantiles", "mean", "deviation"}, "answers": {...}},
                "positive": {...}, "negative": {...}}}}}

with any number of evenly spaced quantiles, from the least value to the greatest. Nothing looks at
it before it is used, so that a vector with a malformed one still steers.
"""

from __future__ import annotations

import itertools
import reprlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from triton_models.contract.errors import InvalidArgumentError
from triton_models.vectors.calibration import (
    BlockCalibration,
    Calibration,
    Distribution,
    ModelIdentity,
    Projections,
    remedy,
)
from triton_models.vectors.persona_vector import PersonaVector

CALIBRATION = "calibration"
"""The metadata's key."""

CONDITIONS = ("neutral", "positive", "negative")

_MAX_QUANTILES = 10_001
_DIGITS = 6
"""Significant ones: further digits of float32 sums would be noise, and make files larger."""


def without_calibration(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns metadata as far as it is short enough to be shown."""
    return {key: value for key, value in metadata.items() if key != CALIBRATION}


def with_calibrated_blocks(metadata: dict[str, Any], blocks: Iterable[int]) -> dict[str, Any]:
    """Returns metadata with the calibration of these blocks only; a malformed one stays."""
    document = metadata.get(CALIBRATION)
    if not (isinstance(document, dict) and isinstance(document.get("blocks"), dict)):
        return metadata
    names = set(map(str, blocks))
    kept = {name: block for name, block in document["blocks"].items() if name in names}
    return {**metadata, CALIBRATION: {**document, "blocks": kept}}


def calibration_document(calibration: Calibration) -> dict[str, Any]:
    """Returns what the metadata says of a calibration."""
    return {
        "model": calibration.model.name,
        "weights_sha256": calibration.model.weights_sha256,
        "num_answers": calibration.num_answers,
        "num_tokens": calibration.num_tokens,
        "seed": calibration.seed,
        "blocks": {
            str(number): {
                condition: _written(getattr(block, condition)) for condition in CONDITIONS
            }
            for number, block in sorted(calibration.blocks.items())
        },
    }


def _written(projections: Projections) -> dict[str, Any]:
    each = {"tokens": projections.tokens, "answers": projections.answers}
    return {
        name: {
            "quantiles": [_rounded(value) for value in distribution.quantiles],
            "mean": _rounded(distribution.mean),
            "deviation": _rounded(distribution.deviation),
        }
        for name, distribution in each.items()
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def calibration_of(vector: PersonaVector, model: ModelIdentity | None = None) -> Calibration:
    """Returns a vector's calibration, which must be for the model if one is given.

    Raises:
        InvalidArgumentError: It has none, a malformed one, or that of another model; the message
            names the trait.
    """
    trait, document = vector.trait_name, vector.metadata.get(CALIBRATION)
    if document is None:
        raise InvalidArgumentError(f"the vector of {trait!r} is not calibrated: {remedy(trait)}")
    try:
        found = _parse(trait, document)
    except _MalformedError as error:
        raise InvalidArgumentError(
            f"the calibration of {trait!r} cannot be used: {error}: {remedy(trait)}"
        ) from error
    if model is not None and not found.model.is_same(model):
        raise InvalidArgumentError(
            f"the vector of {trait!r} is calibrated for the model {found.model}, but this is "
            f"{model}: {remedy(trait)}"
        )
    return found


class _MalformedError(ValueError):
    """What is wrong in the document."""


def _parse(trait: str, document: Any) -> Calibration:
    fields = _object(CALIBRATION, document)
    blocks = {}
    for name, block in _object("blocks", fields.get("blocks")).items():
        if not (name.isascii() and name.isdigit() and str(int(name[:5])) == name):
            raise _MalformedError(f"{reprlib.repr(name)} in blocks is no decoder block")
        conditions = _object(f"block {name}", block)
        blocks[int(name)] = BlockCalibration(
            **{
                condition: _projections(f"{condition} of block {name}", conditions.get(condition))
                for condition in CONDITIONS
            }
        )
    if not blocks:
        raise _MalformedError("it has no blocks")
    model, sha256 = fields.get("model"), fields.get("weights_sha256", "")
    if not isinstance(model, str) or not model or not isinstance(sha256, str):
        raise _MalformedError("model and weights_sha256 must be strings")
    return Calibration(
        trait,
        ModelIdentity(model, sha256),
        num_answers=_integer(fields, "num_answers"),
        num_tokens=_integer(fields, "num_tokens"),
        seed=_integer(fields, "seed"),
        blocks=blocks,
    )


def _projections(path: str, value: Any) -> Projections:
    fields = _object(path, value)
    return Projections(
        tokens=_distribution(f"{path}: tokens", fields.get("tokens")),
        answers=_distribution(f"{path}: answers", fields.get("answers")),
    )


def _distribution(path: str, value: Any) -> Distribution:
    fields = _object(path, value)
    quantiles = fields.get("quantiles")
    if not isinstance(quantiles, list) or not 2 <= len(quantiles) <= _MAX_QUANTILES:
        raise _MalformedError(f"{path}: quantiles must be a list of 2 or more numbers")
    numbers = tuple(_number(f"{path}: a quantile", each) for each in quantiles)
    if any(low > high for low, high in itertools.pairwise(numbers)):
        raise _MalformedError(f"{path}: quantiles must not fall")
    mean = _number(f"{path}: mean", fields.get("mean"))
    return Distribution(numbers, mean, _number(f"{path}: deviation", fields.get("deviation")))


def _object(path: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _MalformedError(f"{path} must be an object, not {reprlib.repr(value)}")
    return value


def _number(path: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and abs(value) <= sys.float_info.max):
        raise _MalformedError(f"{path} must be a finite number, not {reprlib.repr(value)}")
    return float(value)


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MalformedError(f"{name} must be an integer, not {reprlib.repr(value)}")
    return value
