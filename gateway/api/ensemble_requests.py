"""From a validated body to what is asked of the ensemble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.api.field_names import BODY_NAMES, renamed
from gateway.api.request_bodies import BaselineRequest, GenerateRequest
from gateway.api.steering_fields import SteeringFields, TraitScalar
from gateway.api.vector_fields import BodyVector
from gateway.ensemble_request import EnsembleRequest, SentVectors, ensemble_request
from gateway.errors import InvalidRequestError, PromptSizeError, UnprocessableError
from gateway.settings import Settings
from triton_models.contract.errors import CONTEXT_LENGTH_WORDS, InvalidArgumentError
from triton_models.contract.request import GenerationDefaults
from triton_models.contract.request_vectors import vectors_of
from triton_models.contract.tensors import TEXT_INPUT, Values

_SAME_NAME = (
    "system_prompt",
    "parse_special",
    "add_generation_prompt",
    "continue_final_message",
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
    "prompt_logprobs",
    "stream",
)
"""Fields that are a tensor of one element with the same name."""


def request_of(
    body: BaselineRequest,
    settings: Settings,
    steering: SteeringFields | None = None,
    more: Values = MappingProxyType({}),
) -> EnsembleRequest:
    """Returns what a body asks for, but for the vectors that it brings along: see `sent_vectors`.

    Values are checked with the model server's own rules, so that a request which would be refused
    there is refused here. What the body leaves out is left to the model server, unless the
    gateway has a default of its own.

    A `GenerateRequest` says itself what to steer by, other bodies are steered by `steering`. The
    ensemble is also asked for `more`, inputs that no such body has.

    Raises:
        UnprocessableError: A value is out of range.
        GatewayError: The prompt cannot be used.
    """
    check_prompt_size(_prompt_size(body, more), settings)
    inputs = _single_values(body, settings)
    inputs[TEXT_INPUT.name] = [body.prompt or ""]
    messages = None
    if body.messages is not None:
        messages = [message.model_dump(exclude_none=True) for message in body.messages]
        inputs["messages"] = [json.dumps(messages, ensure_ascii=False)]
    if body.stop is not None:
        inputs["stop_words"] = [body.stop] if isinstance(body.stop, str) else body.stop
    inputs["monitor"], inputs["monitor_layers"] = body.monitor or [], body.monitor_layers or []
    if body.logit_bias:
        inputs["logit_bias"] = [json.dumps(body.logit_bias)]
    if body.format is not None:
        inputs["format"] = [json.dumps(body.format, ensure_ascii=False)]
    if isinstance(body, GenerateRequest):
        steering = body.whole_steering
    if steering is not None:
        inputs |= steering_inputs(steering)
    given = {name: value for name, value in inputs.items() if value} | dict(more)
    tokens = settings.max_tokens
    defaults = GenerationDefaults(max_tokens=tokens) if tokens else GenerationDefaults()
    try:
        return ensemble_request(given, messages, defaults)
    except InvalidRequestError as error:
        raise renamed(error, BODY_NAMES) from error


async def sent_vectors(
    given: Mapping[str, BodyVector] | None, settings: Settings
) -> SentVectors | None:
    """Returns the vectors that a body brings along, read in a thread since they may be megabytes.

    Raises:
        UnprocessableError: They cannot steer, or are too many bytes.
    """
    if not given:
        return None
    vectors = await asyncio.to_thread(_read_vectors, given)
    size, most = sum(each.num_bytes for each in vectors.parsed), settings.max_request_vectors_bytes
    if size > most:
        raise UnprocessableError(
            f"vectors have {size} bytes as float32 numbers: send at most {most} in a request "
            "(MAX_REQUEST_VECTORS_BYTES), or have them put on the server"
        )
    return vectors


def _read_vectors(given: Mapping[str, BodyVector]) -> SentVectors:
    document = {name: vector.model_dump(exclude_none=True) for name, vector in given.items()}
    try:
        return SentVectors([json.dumps(document)], vectors_of(document))
    except InvalidArgumentError as error:
        raise UnprocessableError(error.message) from error


def _single_values(body: BaselineRequest, settings: Settings) -> dict[str, list[Any]]:
    """Returns the inputs that are a field's value, or the gateway's own default."""
    fields = body.model_dump(include=set(_SAME_NAME), exclude_none=True)
    for name in ("max_tokens", "temperature", "top_p"):
        default = getattr(settings, name)
        if name not in fields and default is not None:
            fields[name] = default
    switches = ("raw", "ignore_eos", "monitor_tokens")
    fields |= {name: True for name in switches if getattr(body, name)}
    return {name: [value] for name, value in fields.items()}


def steering_inputs(steering: SteeringFields) -> dict[str, list[Any]]:
    """Returns the inputs that say how to steer.

    Traits that steer in the same place by raw scalars go in the short form, which all model servers
    know.
    """
    traits = steering.placed_traits
    document = steering.model_dump(
        include={"operations", "when", "window", "limits"}, exclude_none=True, by_alias=True
    )
    inputs: dict[str, list[Any]] = {}
    together = {_place(each) for each in traits}
    if len(together) == 1 and traits[0].unit in (None, "raw"):
        inputs = {
            "trait": [trait.name for trait in traits],
            "scalar": [trait.scalar for trait in traits],
            "layers": traits[0].layers or [],
            "positions": [traits[0].positions] if traits[0].positions else [],
        }
    elif traits:
        document["traits"] = [trait.model_dump(exclude_none=True) for trait in traits]
    if document:
        inputs["steering"] = [json.dumps(document, ensure_ascii=False)]
    return {name: value for name, value in inputs.items() if value}


def _place(trait: TraitScalar) -> tuple[Any, ...]:
    return trait.layers and tuple(trait.layers), trait.positions, trait.unit or "raw"


def _prompt_size(body: BaselineRequest, more: Values) -> int:
    messages = body.messages or []
    texts = [body.prompt, body.system_prompt, *(message.content for message in messages)]
    length = sum(len(text or "") for text in texts) + sum(map(len, more.get("tools", ())))
    return length + len(more.get("prompt_ids", ()))  # each stands for a character at least


def check_prompt_size(length: int, settings: Settings) -> None:
    """Refuses what is too long before anybody makes tokens of it.

    Args:
        length: Characters of a prompt, with all messages, system prompts and tools.
        settings: The configuration.

    Raises:
        PromptSizeError: It is.
    """
    most = settings.max_prompt_chars
    if length > most:
        raise PromptSizeError(
            f"{CONTEXT_LENGTH_WORDS} {most} characters here, but the prompt has {length}, all "
            f"messages and tools among them: send at most {most}"
        )
