"""From a validated body to what is asked of the ensemble, once for each answer.

The vectors that a body brings along are added by `bringing_vectors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from gateway.api.ensemble_requests import request_of, sent_vectors
from gateway.api.openai.requests import ChatRequest, CompletionRequest, GenerationFields
from gateway.api.openai.response_requests import ResponseRequest
from gateway.api.openai.tools import Calling
from gateway.api.request_bodies import BaselineRequest, Sampling
from gateway.api.steering_fields import TraitScalar
from gateway.ensemble_request import EnsembleRequest
from gateway.errors import InvalidRequestError
from gateway.settings import Settings

_SEEDS = 2**64


def chat_requests(
    body: ChatRequest, named: Sequence[TraitScalar], settings: Settings
) -> list[EnsembleRequest]:
    """Returns the request for each answer to a chat.

    Args:
        body: The request.
        named: The traits that its model's name stands for.
        settings: The configuration.

    Raises:
        GatewayError: A value is out of range, or traits are given twice.
    """
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    fields: dict[str, Any] = {
        "messages": body.messages,
        "logprobs": logprobs,
        "prompt_logprobs": body.prompt_logprobs,
        "format": body.format,
        "add_generation_prompt": body.add_generation_prompt,
        "continue_final_message": body.continue_final_message,
    }
    if body.max_completion_tokens is not None:
        fields["max_tokens"] = body.max_completion_tokens
    return _requests(body, fields, named, settings, _calling_inputs(body.calling), body.n)


def response_request(
    body: ResponseRequest, named: Sequence[TraitScalar], settings: Settings
) -> EnsembleRequest:
    """Returns the request for a response.

    Args and raises: as `chat_requests`.
    """
    fields: dict[str, Any] = {
        "messages": body.messages,
        "logprobs": body.num_logprobs,
        "format": body.format,
    }
    if body.max_output_tokens is not None:
        fields["max_tokens"] = body.max_output_tokens
    (request,) = _requests(body, fields, named, settings, _calling_inputs(body.calling))
    return request


def completion_requests(
    body: CompletionRequest, named: Sequence[TraitScalar], settings: Settings
) -> list[EnsembleRequest]:
    """Returns the request for each answer to each prompt, those of one prompt side by side.

    Args and raises: as `chat_requests`.
    """
    requests: list[EnsembleRequest] = []
    for prompt in body.prompt:
        inputs: dict[str, Sequence[Any]] = {}
        fields: dict[str, Any] = {
            "logprobs": body.logprobs,
            "prompt_logprobs": body.scored,
            "parse_special": body.parse_special,
            "format": body.format,
        }
        if isinstance(prompt, str):
            fields |= {"prompt": prompt, "raw": True}
        else:
            inputs["prompt_ids"] = prompt
        requests += _requests(body, fields, named, settings, inputs, body.n)
    if body.echo:
        return [request.echoing() for request in requests]
    return requests


async def bringing_vectors(
    requests: Sequence[EnsembleRequest], body: GenerationFields, settings: Settings
) -> list[EnsembleRequest]:
    """Returns a body's requests with the vectors that it brings along.

    Raises:
        UnprocessableError: They cannot be used.
    """
    try:
        vectors = await sent_vectors(body.steering.vectors, settings)
    except InvalidRequestError as error:
        raise body.named(error) from error
    return [request.bringing(vectors) for request in requests]


def _calling_inputs(calling: Calling | None) -> dict[str, list[Any]]:
    inputs: dict[str, list[Any]] = {}
    if calling is not None:
        inputs["tools"] = [json.dumps(calling.tools, ensure_ascii=False)]
        if calling.grammar is not None:
            inputs["format"] = [json.dumps({"type": "grammar", "grammar": calling.grammar})]
    return inputs


def _requests(
    body: GenerationFields,
    fields: dict[str, Any],
    named: Sequence[TraitScalar],
    settings: Settings,
    inputs: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    count: int = 1,
) -> list[EnsembleRequest]:
    if named and body.steering.traits:
        raise InvalidRequestError(
            "steering.traits and the model's name both say what to steer by: use one of them"
        )
    steering = body.steering.model_copy(update={"traits": [*named, *body.steering.traits]})
    sampling = {name: getattr(body, name) for name in Sampling.model_fields}
    # Validated already, by the same types.
    bare = BaselineRequest.model_construct(
        **{**sampling, **fields},
        stream=body.stream,
        monitor=body.steering.monitor,
        monitor_layers=body.steering.monitor_layers,
        monitor_tokens=body.steering.monitor_tokens,
    )
    try:
        request = request_of(bare, settings, steering, inputs)
    except InvalidRequestError as error:
        raise body.named(error) from error
    if body.seed is None:
        return [request] * count
    # Each is what its own seed gives alone, so that it can be had again.
    return [request.seeded((body.seed + number) % _SEEDS) for number in range(count)]
