"""How the tokens of one request are steered, worked out before it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from triton_models.contract.steering import Positions

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
        prompt_key: A digest of all that steers the prompt's tokens, `""` if nothing does: equal
            steerings have equal keys.
        response_key: The same of the generated tokens.
    """

    prompt: Deltas = field(default_factory=dict)
    response: Deltas = field(default_factory=dict)
    prompt_key: str = field(init=False)
    response_key: str = field(init=False)

    def __post_init__(self) -> None:
        prompt_key = _digest(self.prompt)
        is_same = self.response is self.prompt
        object.__setattr__(self, "prompt_key", prompt_key)
        object.__setattr__(self, "response_key", prompt_key if is_same else _digest(self.response))

    @classmethod
    def adding(cls, deltas: Deltas, positions: Positions = "all") -> RowSteering:
        """Returns the steering that adds the same to all tokens at some positions."""
        prompt = NOTHING if positions == "response" else deltas
        return cls(prompt, NOTHING if positions == "prompt" else deltas)

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
        return self.prompt is self.response or self.prompt_key == self.response_key


def _digest(deltas: Deltas) -> str:
    if not deltas:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for block, vector in sorted(deltas.items()):
        digest.update(f"{block} {vector.dtype} ".encode())
        digest.update(vector.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
