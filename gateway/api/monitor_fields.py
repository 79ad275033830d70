"""What a request has read while it is answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from gateway.api.field_types import SHOWN_MONITOR, Boolean, Layers, TraitName
from triton_models.contract.steering import MAX_TRAITS


class MonitorFields(BaseModel):
    """Which traits to read, where, and whether at each token."""

    monitor: Annotated[list[TraitName], Field(max_length=MAX_TRAITS)] | None = Field(
        default=None,
        description="Traits to read while the model answers, steered or not: see `readouts`.",
        json_schema_extra=SHOWN_MONITOR,
    )
    monitor_layers: Layers = Field(
        default=None,
        description=(
            "Decoder blocks where to read them, from 0. Default: those that each vector selects, "
            "wherever the request steers."
        ),
    )
    monitor_tokens: Boolean = Field(
        default=False,
        description=(
            "With `monitor`, report what is read at each token too, before and after steering, and "
            "the means of the prompt's turns; a stream has them with its pieces. A piece comes one "
            "token later then, and a chat's prompt is computed anew."
        ),
    )
