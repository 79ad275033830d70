"""What the engine is compared with: `model.generate` on one request, and a plain forward hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Qwen2ForCausalLM


def generate_alone(
    model: Qwen2ForCausalLM,
    prompt_ids: list[int],
    max_tokens: int,
    deltas: Mapping[int, NDArray[np.float32]],
    positions: str = "all",
) -> list[int]:
    """Returns the greedy tokens of one request on its own.

    Args:
        model: A model with transformers' own attention and without permanent hooks.
        prompt_ids: The prompt.
        max_tokens: How many tokens to generate.
        deltas: For each steered decoder block, what to add to its output.
        positions: `all`, `prompt` or `response`.
    """
    num_prompt = len(prompt_ids)

    def steer(delta: torch.Tensor, seen: list[int]) -> Any:
        def hook(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
            first = seen[0]
            seen[0] += output.shape[1]
            of_prompt = torch.arange(first, seen[0]) < num_prompt
            steered = {
                "all": torch.ones_like(of_prompt),
                "prompt": of_prompt,
                "response": ~of_prompt,
            }[positions]
            return output + steered[None, :, None].to(output.dtype) * delta

        return hook

    handles = [
        model.model.layers[block].register_forward_hook(
            steer(torch.from_numpy(delta).to(model.dtype), [0])
        )
        for block, delta in deltas.items()
    ]
    try:
        output: Any = model.generate(  # type: ignore[misc]
            torch.tensor([prompt_ids]),
            attention_mask=torch.ones(1, num_prompt, dtype=torch.long),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
    finally:
        for handle in handles:
            handle.remove()
    tokens: list[int] = output[0, num_prompt:].tolist()
    return tokens
