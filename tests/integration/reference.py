"""What the engine is compared with: `model.generate` on one request, and a plain forward hook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Qwen2ForCausalLM

NEAR_TIE = 1e-4


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
    with steered(model, num_prompt, deltas, positions):
        output: Any = model.generate(  # type: ignore[misc]
            torch.tensor([prompt_ids]),
            attention_mask=torch.ones(1, num_prompt, dtype=torch.long),
            max_new_tokens=max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
    tokens: list[int] = output[0, num_prompt:].tolist()
    return tokens


def agree(
    model: Qwen2ForCausalLM,
    prompt_ids: list[int],
    expected: list[int],
    got: list[int],
    deltas: Mapping[int, NDArray[np.float32]],
    positions: str = "all",
) -> bool:
    """Whether two greedy answers are the same, but for a tie that rounding may decide either way.

    Sums of float32 in another order differ by about a millionth: two tokens whose logits are nearer
    to each other than `NEAR_TIE` are equally right, and what follows them is another text.
    """
    if got == expected:
        return True
    common = next(
        (i for i, pair in enumerate(zip(expected, got, strict=False)) if len(set(pair)) > 1), None
    )
    if common is None:
        return False
    with steered(model, len(prompt_ids), deltas, positions):
        logits = model(torch.tensor([prompt_ids + expected[:common]])).logits[0, -1]
    return abs(float(logits[expected[common]] - logits[got[common]])) < NEAR_TIE


@contextmanager
def steered(
    model: Qwen2ForCausalLM,
    num_prompt: int,
    deltas: Mapping[int, NDArray[np.float32]],
    positions: str = "all",
) -> Iterator[None]:
    """Steers what the model computes inside by plain forward hooks, for a single request."""

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
        yield
    finally:
        for handle in handles:
            handle.remove()
