"""Vectors that a request brings along, as its body has them.

What the numbers may be is checked by the contract's own `vectors_of`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.api.field_types import FLOAT32_MAX, Text, is_none
from triton_models.contract.request_vectors import Dtype
from triton_models.contract.steering import (
    MAX_LAYERS,
    MAX_TRAIT_CHARS,
    MAX_TRAITS,
    OperationKind,
    Unit,
)

_SHOWN_LAYERS: dict[str, JsonValue] = {
    "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,3})$"},
    "additionalProperties": {"type": "string", "format": "byte", "minLength": 4},
}

EXAMPLE_VECTORS: JsonValue = {
    "mine": {"layers": {"1": "ADwAPAA8" * 64}, "dtype": "float16"},
}
"""For a model as wide as the demo model: 192 times 1."""

_SHOWN_OPERATION: dict[str, JsonValue] = {
    "anyOf": [
        {"type": "null"},
        {"const": "ablate"},
        {
            "type": "object",
            "properties": {"kind": {"const": "ablate"}},
            "required": ["kind"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "kind": {"enum": ["cap", "floor", "pin"]},
                "value": {"type": "number", "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX},
                "unit": {"enum": ["raw"]},
            },
            "required": ["kind", "value"],
            "additionalProperties": False,
        },
    ]
}
"""The documentation of what `parse_vector_operation` knows and checks, without percentiles, for
which a vector needs a calibration."""


class VectorOperation(BaseModel):
    """The operation that a vector is meant for."""

    kind: OperationKind
    value: float | None = Field(default=None, exclude_if=is_none)
    unit: Unit | None = Field(default=None, exclude_if=is_none)


class BodyVector(BaseModel):
    """A vector for one request."""

    model_config = ConfigDict(extra="forbid")

    layers: dict[Text, Text] = Field(
        min_length=1,
        max_length=MAX_LAYERS,
        description=(
            "For each decoder block, from 0, as many numbers as the model's hidden size, little-"
            "endian, in base64. They are the layers to steer by default."
        ),
        json_schema_extra=_SHOWN_LAYERS,
    )
    dtype: Dtype = Field(default="float32", description="What the numbers are.")
    operation: JsonValue = Field(
        default=None,
        description=(
            "The operation that it is meant for, if not to be added: scalars are its strength, 0 "
            "to 1. A kind, or an object as in `steering.operations`, without trait and strength."
        ),
        json_schema_extra=_SHOWN_OPERATION,
    )


Vectors = Annotated[
    dict[Annotated[Text, Field(min_length=1, max_length=MAX_TRAIT_CHARS)], BodyVector],
    Field(
        max_length=MAX_TRAITS,
        description=(
            "Vectors that steering and `monitor` can name in this request, besides the server's "
            "traits. Who may send any is a matter of policy."
        ),
    ),
]
