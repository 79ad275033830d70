"""How long the residual stream's vectors are: the measure for how strong a steering vector is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.scheduler import Scheduler
from triton_models.engine.sequence import Sequence
from triton_models.request import GenerationRequest, SamplingParameters
from triton_models.steering.delta import SteeringDelta
from triton_models.text.prompt import render_chat

_QUESTION = "What is the weather like today?"
_ANSWER = "It is mild, with some clouds in the morning and a light wind from the west. In the "
_ANSWER += "afternoon the sun comes out, and the evening stays dry."

_REQUEST = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0), max_tokens=1)


def measure_residual_norms(
    runner: ModelRunner,
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    context_length: int,
) -> dict[int, float]:
    """Returns the mean norm of each decoder block's output over the tokens of a neutral answer.

    Only the answer's tokens count, as in the vectors' own files: a prompt's first token is a
    hundred times longer than the others in Qwen2.5. One step of the runner, without steering, so
    that it works however the model is laid out; to be done before an engine uses the runner.

    Args:
        runner: The runner, which no request has used yet.
        model: The model it runs.
        tokenizer: The model's.
        context_length: The most tokens of a request.

    Returns:
        The norms by block, without those that are no finite numbers.
    """
    prompt = _ids(tokenizer, render_chat(tokenizer, [{"role": "user", "content": _QUESTION}]))
    answer = _ids(tokenizer, _ANSWER)
    ids = [*prompt, *answer][-(context_length - 1) :]
    norms: dict[int, float] = {}

    def hook_of(block: int) -> Any:
        def read(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
            # output: [1, tokens, hidden_size]
            norms[block] = float(output[0, -len(answer) :].float().norm(dim=-1).mean())

        return read

    blocks: nn.ModuleList = model.model.layers
    handles = [module.register_forward_hook(hook_of(i)) for i, module in enumerate(blocks)]
    scheduler = Scheduler(1, len(ids), KVRoom(len(ids) + 1, reuse=False))
    scheduler.add(Sequence(_REQUEST, ids, 1, SteeringDelta({}), lambda _: None))
    scheduler.admit()
    try:
        runner.launch(scheduler.plan()).wait()
    finally:
        for handle in handles:
            handle.remove()
    return {block: norm for block, norm in norms.items() if math.isfinite(norm)}


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
