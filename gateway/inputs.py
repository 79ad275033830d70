"""From a validated body to the inputs of the ensemble."""

from __future__ import annotations

import json
from typing import Any

from gateway.errors import UnprocessableError
from gateway.schemas import BaselineRequest, GenerateRequest
from gateway.settings import Settings
from gateway.triton_wire import Values
from triton_models.errors import InvalidRequestError
from triton_models.request import parse_generation_request
from triton_models.settings import GenerationDefaults
from triton_models.tensors import TEXT_INPUT

_SAME_NAME = (
    "system_prompt",
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logprobs",
    "stream",
    "positions",
)
"""Fields that are a tensor of one element with the same name."""


def triton_inputs(body: BaselineRequest, settings: Settings) -> Values:
    """Returns the ensemble's inputs for a body.

    Values are checked with the model server's own rules, so that a request which would be refused
    there is refused here. What the body leaves out is left to the model server, unless the
    gateway has a default of its own.

    Raises:
        UnprocessableError: A value is out of range.
    """
    fields = body.model_dump(include=set(_SAME_NAME), exclude_none=True)
    for name in ("max_tokens", "temperature", "top_p"):
        default = getattr(settings, name)
        if name not in fields and default is not None:
            fields[name] = default
    inputs: dict[str, list[Any]] = {name: [value] for name, value in fields.items()}
    inputs[TEXT_INPUT.name] = [body.prompt or ""]
    if body.messages is not None:
        messages = [message.model_dump() for message in body.messages]
        inputs["messages"] = [json.dumps(messages)]
    if body.raw:
        inputs["raw"] = [True]
    if body.stop is not None:
        inputs["stop_words"] = [body.stop] if isinstance(body.stop, str) else body.stop
    if body.monitor is not None:
        inputs["monitor"] = body.monitor
    if isinstance(body, GenerateRequest):
        inputs["trait"] = [body.trait]
        inputs["scalar"] = [body.scalar]
        if body.layers is not None:
            inputs["layers"] = body.layers
    inputs = {name: value for name, value in inputs.items() if value}
    try:
        parse_generation_request(inputs, _defaults(settings))
    except InvalidRequestError as error:
        raise UnprocessableError(error.message) from error
    return inputs


def _defaults(settings: Settings) -> GenerationDefaults:
    server = GenerationDefaults()
    return GenerationDefaults(max_tokens=settings.max_tokens or server.max_tokens)
