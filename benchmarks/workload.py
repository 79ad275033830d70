"""What the contenders are given: how many streams, with which prompts, steered how."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.shapes import trait_name

Steered = Literal["not", "uniformly", "mixed", "with rules"]
"""Whether the streams are steered: not at all, all in the same way, each in a way of its own, or so
with two operations and a condition on top."""

Prompts = list[list[int]]
"""The token ids of each stream's prompt."""

_LETTERS = np.frombuffer(string.ascii_letters.encode(), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Workload:
    """Greedy requests that come at the same moment, or evenly spread over a time.

    Attributes:
        new_tokens: How many tokens each generates, exactly.
        spread_seconds: From the first request to the time at which one more would come.
    """

    streams: int
    prompt_tokens: int
    new_tokens: int
    spread_seconds: float = 0.0

    def comes_at(self, stream: int) -> float:
        """Returns how many seconds after the first request a stream's comes."""
        return self.spread_seconds * stream / self.streams


@dataclass(frozen=True, slots=True)
class StreamSteering:
    """How one stream is steered."""

    trait: str
    scalar: float


UNIFORM = StreamSteering(trait_name(0), 1.0)
"""How all streams are steered where each cannot be in a way of its own."""


def steering_of(steered: Steered, stream: int) -> StreamSteering | None:
    """Returns how a stream is steered, or `None` if it is not."""
    if steered == "not":
        return None
    if steered == "uniformly":
        return UNIFORM
    return own_steering(stream)


def own_steering(stream: int) -> StreamSteering:
    """Returns how a stream is steered in a way of its own."""
    return StreamSteering(trait_name(stream), 1.0 + stream / 32)


def random_prompts(workload: Workload, *seed: int) -> Prompts:
    """Returns prompts of random letters, all different: no two share a computed beginning.

    The seed's numbers, none of them negative, name this run among all others.
    """
    random = np.random.default_rng([workload.streams, workload.prompt_tokens, *seed])
    ids = random.choice(_LETTERS, size=(workload.streams, workload.prompt_tokens))
    prompts: Prompts = ids.tolist()
    return prompts


def prompt_text(prompt: list[int]) -> str:
    """Returns the text whose tokens a random prompt is."""
    return bytes(prompt).decode("ascii")
