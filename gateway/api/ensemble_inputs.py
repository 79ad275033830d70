"""From a validated body to the inputs of the ensemble."""

from __future__ import annotations

import json
from typing import Any

from gateway.api.schemas import BaselineRequest, GenerateRequest, Steering, TraitScalar
from gateway.errors import UnprocessableError
from gateway.settings import Settings
from triton_models.errors import InvalidRequestError
from triton_models.grpc_messages import Values
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
)
"""Fields that are a tensor of one element with the same name."""


def triton_inputs(
    body: BaselineRequest, settings: Settings, steering: Steering | None = None
) -> Values:
    """Returns the ensemble's inputs for a body.

    Values are checked with the model server's own rules, so that a request which would be refused
    there is refused here. What the body leaves out is left to the model server, unless the
    gateway has a default of its own.

    Args:
        body: The prompt, and how to choose the tokens of the answer.
        settings: The configuration.
        steering: What to steer by, unless the body is a `GenerateRequest` and says so itself.

    Raises:
        UnprocessableError: A value is out of range.
    """
    _check_size(body, settings)
    fields = body.model_dump(include=set(_SAME_NAME), exclude_none=True)
    for name in ("max_tokens", "temperature", "top_p"):
        default = getattr(settings, name)
        if name not in fields and default is not None:
            fields[name] = default
    inputs: dict[str, list[Any]] = {name: [value] for name, value in fields.items()}
    inputs[TEXT_INPUT.name] = [body.prompt or ""]
    if body.messages is not None:
        messages = [message.model_dump() for message in body.messages]
        inputs["messages"] = [json.dumps(messages, ensure_ascii=False)]
    if body.raw:
        inputs["raw"] = [True]
    if body.stop is not None:
        inputs["stop_words"] = [body.stop] if isinstance(body.stop, str) else body.stop
    if body.monitor is not None:
        inputs["monitor"] = body.monitor
    if isinstance(body, GenerateRequest):
        steering = Steering(
            traits=[TraitScalar(name=body.trait, scalar=body.scalar)],
            layers=body.layers,
            positions=body.positions,
        )
    return steered_inputs(inputs, steering, settings)


def steered_inputs(inputs: Values, steering: Steering | None, settings: Settings) -> Values:
    """Returns inputs with a steering of their own; what else they say is shared with them.

    Args:
        inputs: The inputs.
        steering: What to steer by, if by anything.
        settings: The configuration.

    Raises:
        UnprocessableError: A value is out of range.
    """
    added = {} if steering is None else _steering_inputs(steering)
    steered = {name: value for name, value in {**inputs, **added}.items() if value}
    try:
        parse_generation_request(steered, _defaults(settings))
    except InvalidRequestError as error:
        raise UnprocessableError(error.message) from error
    return steered


def _check_size(body: BaselineRequest, settings: Settings) -> None:
    """Refuses what is too long before anybody makes tokens of it."""
    messages = body.messages or []
    texts = [body.prompt, body.system_prompt, *(message.content for message in messages)]
    length = sum(len(text or "") for text in texts)
    if length > settings.max_prompt_chars:
        name = "messages" if messages else "prompt"
        raise UnprocessableError(
            f"{name} has {length} characters, a system prompt's among them: send at most "
            f"{settings.max_prompt_chars}"
        )


def _steering_inputs(steering: Steering) -> dict[str, list[Any]]:
    return {
        "trait": [trait.name for trait in steering.traits],
        "scalar": [trait.scalar for trait in steering.traits],
        "layers": steering.layers or [],
        "positions": [steering.positions] if steering.positions else [],
    }


def _defaults(settings: Settings) -> GenerationDefaults:
    server = GenerationDefaults()
    return GenerationDefaults(max_tokens=settings.max_tokens or server.max_tokens)
