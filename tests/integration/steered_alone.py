"""One request on its own, steered by plain forward hooks that do what `steering` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Qwen2ForCausalLM

from tests.integration.reference import NEAR_TIE
from triton_models.contract.steering import Operation, SteeringParameters
from triton_models.vectors.persona_vector import PersonaVector


@dataclass
class PlainSteering:
    """Steers one request; only raw bounds.

    Attributes:
        met: For each pass and token, whether the condition let it through; empty without one.
        margin: The smallest distance of a projection from the condition's bound.
    """

    steering: SteeringParameters
    vectors: Mapping[str, PersonaVector]
    num_prompt: int
    met: list[torch.Tensor] = field(default_factory=list)
    margin: float = float("inf")
    _seen: dict[int, int] = field(default_factory=dict)

    def blocks(self, trait: str, layers: tuple[int, ...] | None) -> tuple[int, ...]:
        return self.vectors[trait].selected_blocks if layers is None else layers

    def direction(self, trait: str, block: int) -> torch.Tensor:
        vector = torch.from_numpy(self.vectors[trait].blocks[block])
        unit: torch.Tensor = vector / torch.linalg.vector_norm(vector)
        return unit

    @property
    def asked_blocks(self) -> set[int]:
        """The blocks that are steered."""
        asked = [(each.trait, each.layers) for each in self.steering.additions if each.scalar]
        asked += [(each.trait, each.layers) for each in self.steering.operations if each.strength]
        return {block for trait, layers in asked for block in self.blocks(trait, layers)}

    @property
    def first_block(self) -> int:
        """The first block that is steered."""
        return min(self.asked_blocks)

    def steer(self, block: int, states: torch.Tensor) -> torch.Tensor:
        """Returns a block's output, [tokens, hidden size], steered."""
        seen = self._seen.get(block, 0)
        places = torch.arange(seen, seen + len(states))
        self._seen[block] = seen + len(states)
        of_prompt = places < self.num_prompt
        factor = torch.where(of_prompt, 1.0, self._windowed(places - self.num_prompt))
        factor = factor * self._gate(block, states)
        for each in self.steering.additions:
            if block in self.blocks(each.trait, each.layers):
                everywhere = torch.ones_like(of_prompt)
                here = {"all": everywhere, "prompt": of_prompt, "response": ~of_prompt}[
                    each.positions
                ]
                added = each.scalar * torch.from_numpy(self.vectors[each.trait].blocks[block])
                states = states + (factor * here)[:, None] * added
        for operation in self.steering.operations:
            states = self._bound(block, operation, states, factor)
        for operation in self.steering.enforced.operations:
            states = self._bound(block, operation, states, torch.ones_like(factor))
        return states

    def _bound(
        self, block: int, operation: Operation, states: torch.Tensor, factor: torch.Tensor
    ) -> torch.Tensor:
        if block not in self.blocks(operation.trait, operation.layers):
            return states
        direction = self.direction(operation.trait, block)
        projection = states @ direction
        change = bounded(operation, projection) - projection
        return states + (factor * operation.strength * change)[:, None] * direction

    def _windowed(self, generated: torch.Tensor) -> torch.Tensor:
        window = self.steering.window
        if window is None:
            return torch.ones(len(generated))
        factors = (generated >= window.start).float()
        for token, index in enumerate(generated.tolist()):
            if window.end is not None:
                left = window.end - index
                factors[token] *= max(0.0, min(1.0, left / (window.fade + 1)))
        return factors

    def _gate(self, block: int, states: torch.Tensor) -> torch.Tensor:
        when = self.steering.when
        if when is None:
            return torch.ones(len(states))
        if block == (self.first_block if when.layer is None else when.layer):
            beyond = states @ self.direction(when.trait, block) - when.bound
            self.margin = min(self.margin, float(beyond.abs().min()))
            self.met.append(beyond > 0 if when.above else beyond < 0)
        layer = self.first_block if when.layer is None else when.layer
        return self.met[-1].float() if block >= layer else torch.zeros(len(states))


def bounded(operation: Operation, projection: torch.Tensor) -> torch.Tensor:
    """Returns what an operation of full strength makes of projections."""
    if operation.kind == "cap":
        return projection.clamp(max=operation.value)
    if operation.kind == "floor":
        return projection.clamp(min=operation.value)
    return torch.full_like(projection, operation.value if operation.kind == "pin" else 0.0)


@contextmanager
def hooked(model: Qwen2ForCausalLM, plain: PlainSteering) -> Iterator[None]:
    """Steers what the model computes inside."""

    def hook(block: int) -> Any:
        return lambda _module, _args, output: plain.steer(block, output[0])[None]

    handles = [
        layer.register_forward_hook(hook(block)) for block, layer in enumerate(model.model.layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def answered_alone(
    model: Qwen2ForCausalLM, plain: PlainSteering, prompt: list[int], max_tokens: int
) -> list[int]:
    """Returns the greedy tokens of `generate`."""
    with hooked(model, plain):
        output: Any = model.generate(  # type: ignore[misc]
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
    tokens: list[int] = output[0, len(prompt) :].tolist()
    return tokens


def same_but_for_ties(
    model: Qwen2ForCausalLM,
    plain: PlainSteering,
    prompt: list[int],
    expected: list[int],
    got: list[int],
) -> bool:
    """Whether two greedy answers are the same, but for a tie: see `reference.agree`.

    `plain` steers another pass, so it must be fresh.
    """
    if got == expected:
        return True
    if len(got) != len(expected):
        return False
    common = next(i for i, pair in enumerate(zip(expected, got, strict=True)) if len(set(pair)) > 1)
    with hooked(model, plain):
        logits = model(torch.tensor([prompt + expected[:common]])).logits[0, -1]
    return abs(float(logits[expected[common]] - logits[got[common]])) < NEAR_TIE
