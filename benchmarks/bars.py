"""What the ratios have to reach: set for the 0.5B shape in bfloat16, and shown beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rate = Literal["tokens_per_second", "decode_tokens_per_second"]
"""Which rate of a measurement a ratio is of: end to end, or while every stream generates."""

ONE_AT_A_TIME: dict[int, float] = {1: 1.7, 4: 5.5, 16: 18.0, 64: 35.0}
"""By streams: how many times as many tokens per second as serving one request at a time."""

STATIC_BATCH: dict[int, float] = {1: 1.3, 4: 1.3, 16: 1.3, 64: 1.3}
"""The same for one `generate` call of all streams."""

LLAMA_CPP: dict[int, float] = {1: 1.25, 4: 1.8, 16: 2.7, 64: 3.8}
"""By streams: how many times as many tokens per second as llama.cpp while all generate."""

STEERING = 0.98
"""Steered against unsteered, and mixed against uniform steering."""

RULES = 0.95
"""Two operations and a condition in every stream against steering without them."""

MONITORED = 0.93
"""Streams that each read their trait at every token against streams that read nothing."""

FORMATS = 0.9
"""Streams that all follow a format against streams that follow none."""

BESIDE_FORMATS = 0.98
"""Streams that follow none, half of them beside streams that follow one, against none alone."""

SERVED = 0.95
SERVED_STREAMS = 16
"""Through Triton, directly and through the ensemble, against the engine alone."""

GATEWAY = 0.95
"""Through the gateway against the same requests straight to Triton's ensemble, for every model."""

GATEWAY_DELAY_SECONDS = 0.005
"""How much later than straight from the ensemble the median first token may come."""

SINGLE_STREAM = 0.7
"""One stream's decoding against reading the weights once per token."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The least that a ratio should be."""

    least: float
    rate: Rate = "tokens_per_second"


def bars_apply(shape: str, dtype: str, device: str) -> bool:
    """Whether any bars are set for a model on a device."""
    return (shape, dtype, device) == ("0.5b", "bfloat16", "cpu")
