"""From a request to a sequence: everything is checked and resolved before it is queued."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass

import torch

from triton_models.contract.errors import ContextLengthError, InvalidArgumentError
from triton_models.contract.logit_bias import LogitBias
from triton_models.contract.prompt_turns import check_turns
from triton_models.contract.request import MAX_READINGS, GenerationRequest
from triton_models.engine.sequence import Emit, Sequence
from triton_models.steering.bounded_projections import resolve_enforced
from triton_models.steering.limits import resolve_limits
from triton_models.steering.readout import Readout, resolve_directions
from triton_models.steering.resolve import resolve_steering
from triton_models.steering.scalar_units import in_raw_units
from triton_models.steering.steering_warnings import steering_warnings
from triton_models.vectors.registry import ModelFit, VectorRegistry


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a model accepts.

    Attributes:
        context_length: The maximum number of tokens of a prompt and its answer together.
        dtype: The dtype of the residual stream, to which steering is rounded.
        fit: Checks the vectors that requests bring along.
    """

    vocabulary_size: int
    context_length: int
    default_max_tokens: int
    dtype: torch.dtype
    fit: ModelFit

    def check_bias(self, bias: LogitBias) -> None:
        """Raises `InvalidArgumentError` if the model does not have a token."""
        largest = max((token for token, _ in bias), default=0)
        if largest >= self.vocabulary_size:
            raise InvalidArgumentError(
                f"logit_bias has the token {largest}: token ids must be from 0 to "
                f"{self.vocabulary_size - 1}"
            )

    def max_tokens(self, request: GenerationRequest, prompt_ids: list[int]) -> int:
        """Returns how many tokens a request may generate.

        Raises:
            InvalidArgumentError: The prompt is empty, or has tokens that the model does not have.
            ContextLengthError: The prompt and its answer do not fit the context.
        """
        length = len(prompt_ids)
        if not length:
            raise InvalidArgumentError("the prompt is empty: it must have at least one token")
        if min(prompt_ids) < 0 or max(prompt_ids) >= self.vocabulary_size:
            raise InvalidArgumentError(f"token ids must be from 0 to {self.vocabulary_size - 1}")
        room = self.context_length - length
        if room < 1:
            raise ContextLengthError(
                self.context_length,
                f"the prompt has {length}, and its answer at least 1: shorten the prompt by at "
                f"least {1 - room}",
            )
        if request.max_tokens is None:
            return max(min(self.default_max_tokens, room), 1)
        if request.max_tokens > room:
            raise ContextLengthError(
                self.context_length,
                f"the prompt has {length} and max_tokens is {request.max_tokens}: set max_tokens "
                f"to at most {room}, or shorten the prompt",
            )
        return request.max_tokens


def new_sequence(
    request: GenerationRequest,
    prompt_ids: list[int],
    limits: RequestLimits,
    registry: VectorRegistry,
    emit: Emit,
    request_id: str = "",
) -> Sequence:
    """Returns the sequence of a request that can be served; it keeps the vectors that it needs.

    Raises:
        InvalidArgumentError: The prompt, a token with a bias, or a vector that the request brings
            along does not fit the model; the steering cannot work; or too much is to be read.
        TraitNotLoadedError: A trait to steer by, to monitor or to limit has no vector.
        EnforcementError: What a policy enforces cannot be applied.
    """
    max_tokens = limits.max_tokens(request, prompt_ids)
    limits.check_bias(request.sampling.logit_bias)
    own = registry.with_request_vectors(request.vectors, limits.fit)
    asked = in_raw_units(request.steering, own)
    steering = resolve_steering(asked, own, limits.dtype)
    if steering.steers_response and not steering.steers_prompt and max_tokens <= 1:
        raise InvalidArgumentError(
            f"an answer of {max_tokens} tokens cannot be steered with positions = response: the "
            "first is chosen from the prompt's last position; use max_tokens of at least 2, or all"
        )
    window = steering.window
    if window is not None and window.start > max_tokens - 2:
        raise InvalidArgumentError(
            f"steering.window begins at generated token {window.start}, and of an answer of "
            f"{max_tokens} tokens the last that can be steered is {max_tokens - 2}, since nothing "
            "follows the last one: begin earlier, or raise max_tokens"
        )
    if request.sampling.seed is None:
        sampling = dataclasses.replace(request.sampling, seed=secrets.randbits(64))
        request = dataclasses.replace(request, sampling=sampling)
    # By the server's vectors alone: no request can bring along what it is bounded by.
    enforced = resolve_enforced(request.steering.enforced, registry, limits.dtype)
    return Sequence(
        request,
        prompt_ids,
        max_tokens,
        steering.enforcing(enforced),
        emit,
        request_id,
        _readout(request, len(prompt_ids), max_tokens, own),
        resolve_limits(request.steering, own, registry),
        steering_warnings(asked, steering, own),
    )


def _readout(
    request: GenerationRequest, num_prompt_tokens: int, max_tokens: int, own: VectorRegistry
) -> Readout | None:
    directions = resolve_directions(request.monitor, request.monitor_layers, own)
    if not directions:
        return None
    check_turns(request.turns, num_prompt_tokens)
    if request.monitor_tokens:
        num_places = max_tokens + len(request.turns)
        if num_places * len(directions) > MAX_READINGS:
            raise InvalidArgumentError(
                f"monitor_tokens would read {len(directions)} directions, one of each trait at "
                f"each layer, at up to {num_places} tokens and turns, and the maximum is "
                f"{MAX_READINGS} readings in all: set max_tokens to at most "
                f"{max(MAX_READINGS // len(directions) - len(request.turns), 0)}, or monitor fewer "
                "traits, or at fewer monitor_layers"
            )
    return Readout(directions, reads_tokens=request.monitor_tokens, turns=request.turns)
