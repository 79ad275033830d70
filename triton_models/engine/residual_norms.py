"""The norm of the residual stream, to which the norm of a steering vector is compared."""

from __future__ import annotations

import math

import torch

from triton_models.contract.chat import Chat
from triton_models.contract.request import GenerationRequest, SamplingParameters
from triton_models.engine.kv_room import KVRoom
from triton_models.engine.model_runner import ModelRunner
from triton_models.engine.scheduler import Scheduler
from triton_models.engine.sequence import Sequence
from triton_models.model.loading import LoadedModel
from triton_models.steering.hooks import ResidualTap
from triton_models.steering.row_steering import RowSteering
from triton_models.text.chat import ChatTemplate
from triton_models.text.prompt_piece import PromptPiece, token_ids

_QUESTION = "What is the weather like today?"
_ANSWER = "It is mild, with some clouds in the morning and a light wind from the west. In the "
_ANSWER += "afternoon the sun comes out, and the evening stays dry."

_REQUEST = GenerationRequest(sampling=SamplingParameters(temperature=0.0, seed=0), max_tokens=1)


def measure_residual_norms(runner: ModelRunner, loaded: LoadedModel) -> dict[int, float]:
    """Returns the mean norm of each decoder block's output over the tokens of a neutral answer.

    Only the answer's tokens count, as in the vectors' own files: in Qwen2.5 the norm of a prompt's
    first token is a hundred times that of the others. It takes one unsteered forward pass of the
    runner, which no request has used yet. Blocks whose norm is not finite are left out.
    """
    tokenizer = loaded.tokenizer
    chat = Chat(({"role": "user", "content": _QUESTION},))
    prompt = token_ids(tokenizer, ChatTemplate(tokenizer).render(chat))
    answer = token_ids(tokenizer, [PromptPiece(_ANSWER, True)])
    ids = [*prompt, *answer][-(loaded.context_length - 1) :]
    scheduler = Scheduler(1, lambda _: len(ids), KVRoom(len(ids) + 1, reuse=False))
    sequence = Sequence(_REQUEST, ids, 1, RowSteering(), lambda _: None)
    scheduler.add(sequence)
    scheduler.admit()
    runner.assign([sequence])
    answer_places = torch.arange(len(ids))[-len(answer) :].to(runner.device)
    tap = ResidualTap(range(len(loaded.model.blocks)), answer_places)
    with torch.inference_mode():
        runner.forward(runner.batch(scheduler.plan()), tap)
    norms = {
        block: float(states.float().norm(dim=-1).mean()) for block, states in tap.states().items()
    }
    return {block: norm for block, norm in norms.items() if math.isfinite(norm)}
