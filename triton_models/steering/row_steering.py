"""How the tokens of one request are steered, worked out before it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from triton_models.contract.steering import Positions, Window
from triton_models.steering.bounded_projections import BoundedProjection, Gate

Deltas = Mapping[int, torch.Tensor]
"""For each steered 0-based decoder block what is added to its output: [hidden size], in the model's
dtype."""

NOTHING: Deltas = {}


@dataclass(frozen=True, slots=True)
class RowSteering:
    """How the tokens of a request are steered.

    Attributes:
        prompt: What is added to the prompt's tokens.
        response: What is added to the generated tokens.
        operations: What bounds the projections of all tokens at each block, after that.
        gate: When all of that applies to a token, but for what is enforced; `None` is always.
        window: Which generated tokens it applies to likewise; `None` is all.
        prompt_key: A digest of all that steers the prompt's tokens, `""` if nothing does: equal
            steerings have equal keys.
        response_key: The same of the generated tokens.
    """

    prompt: Deltas = field(default_factory=lambda: NOTHING)
    response: Deltas = field(default_factory=lambda: NOTHING)
    operations: Mapping[int, tuple[BoundedProjection, ...]] = field(default_factory=dict)
    gate: Gate | None = None
    window: Window | None = None
    prompt_key: str = field(init=False)
    response_key: str = field(init=False)

    def __post_init__(self) -> None:
        prompt_key = self._key(self.prompt)
        is_same = self.adds_alike and self.window is None
        response_key = prompt_key if is_same else self._key(self.response, self.window)
        object.__setattr__(self, "prompt_key", prompt_key)
        object.__setattr__(self, "response_key", response_key)

    @classmethod
    def adding(cls, deltas: Deltas, positions: Positions = "all") -> RowSteering:
        """Returns the steering that adds the same to all tokens at some positions."""
        prompt = NOTHING if positions == "response" else deltas
        return cls(prompt, NOTHING if positions == "prompt" else deltas)

    def enforcing(self, operations: Mapping[int, tuple[BoundedProjection, ...]]) -> RowSteering:
        """Returns it with more operations after its own."""
        if not operations:
            return self
        blocks = {*self.operations, *operations}
        both = {
            block: (*self.operations.get(block, ()), *operations.get(block, ()))
            for block in sorted(blocks)
        }
        return replace(self, operations=both)

    @property
    def steers_prompt(self) -> bool:
        """Whether the prompt's tokens are steered."""
        return bool(self.prompt_key)

    @property
    def steers_response(self) -> bool:
        """Whether generated tokens are steered."""
        return bool(self.response_key)

    @property
    def adds_alike(self) -> bool:
        """Whether the same is added to prompt and response, so that a line of the table is both."""
        return self.prompt is self.response

    @property
    def has_rules(self) -> bool:
        """Whether more is to be done than adding."""
        return bool(self.operations) or self.gate is not None or self.window is not None

    def _key(self, deltas: Deltas, window: Window | None = None) -> str:
        if not deltas and not self.operations:
            return ""
        digest = hashlib.blake2b(digest_size=16)

        def include(tensor: torch.Tensor, *names: object) -> None:
            digest.update(f"{names} {tensor.dtype} ".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())

        for block, vector in sorted(deltas.items()):
            include(vector, block)
        for block, operations in sorted(self.operations.items()):
            for each in operations:
                bound = (each.low, each.high, each.strength, each.is_enforced)
                include(each.direction, "bound", block, *bound)
        if self.gate is not None:
            include(self.gate.direction, "gate", self.gate.block, self.gate.threshold)
        digest.update(repr(window).encode())
        return digest.hexdigest()
