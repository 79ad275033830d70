"""Vectors that a request brings along, as its body has them.

What the numbers may be is checked by the contract's own `parse_request_vectors`.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.api.field_types import Text
from triton_models.contract.request_vectors import Dtype
from triton_models.contract.steering import MAX_LAYERS, MAX_TRAIT_CHARS, MAX_TRAITS

_SHOWN_LAYERS: dict[str, JsonValue] = {
    "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,3})$"},
    "additionalProperties": {"type": "string", "format": "byte", "minLength": 4},
}


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


def vectors_input(vectors: dict[str, BodyVector]) -> str:
    """Returns the ensemble's input `vectors`."""
    return json.dumps(
        {name: vector.model_dump() for name, vector in vectors.items()}, ensure_ascii=False
    )
