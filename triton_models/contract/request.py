"""A generation request, parsed and validated from its tensors.

The tokenizer step (where an error can still be a plain Triton error) and `steered_qwen` (which also
accepts direct requests) both use `parse_generation_request`, so a request means the same through
the ensemble and without it.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from triton_models.contract import tensors
from triton_models.contract.answer_format import AnswerFormat, parse_answer_format
from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.logit_bias import LogitBias, parse_logit_bias
from triton_models.contract.prompt_turns import Turn, parse_turns
from triton_models.contract.request_vectors import RequestVector, parse_request_vectors
from triton_models.contract.steering import (
    MAX_TRAITS,
    SteeringParameters,
    check_trait_length,
    layers_of,
)
from triton_models.contract.steering_document import parse_steering
from triton_models.contract.tensors import Values
from triton_models.contract.values import boolean, integer, real, string

MAX_STOP_WORDS = 16
MAX_STOP_WORD_BYTES = 256
MAX_TOP_LOGPROBS = 20
"""The maximum number of alternatives per token that a request can ask for, as in OpenAI's API."""
MAX_READINGS = 2**17
"""The maximum number of tokens and turns that are read, times the directions that are read of each:
in all, they are some ten megabytes of JSON."""


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How the next token is sampled from the logits.

    Attributes:
        temperature: 0 is greedy decoding.
        top_k: Keeps the `top_k` most likely tokens; 0 keeps all.
        top_p: Keeps the smallest set of most likely tokens whose probabilities sum to `top_p`; at 0
            the most likely token alone.
        min_p: Keeps tokens that are at least `min_p` times as likely as the most likely one.
        repetition_penalty: Divides positive logits, and multiplies negative ones, of tokens that
            occur in the prompt or the answer.
        frequency_penalty: Subtracted from a token's logit for each occurrence in the answer.
        presence_penalty: Subtracted once from the logit of each token that occurs in the answer.
        logit_bias: Added to tokens' logits, before the penalties.
        seed: Makes sampling reproducible, from 0 to 2**64 - 1; `None` uses a random seed.
    """

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.9
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: LogitBias = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Everything that a request asks for, except its prompt.

    Attributes:
        max_tokens: The maximum number of tokens to generate; `None` uses the server's default, or
            the room in the context if that is less.
        min_tokens: The minimum number of tokens before an end token; stop words can end it earlier.
        ignore_eos: Whether an end token does not end the answer; stop words and `max_tokens` do.
        stop_words: Strings that end the answer and are not part of it.
        echo_prompt: Whether the text begins with the prompt as the model read it.
        logprobs: How many of the most likely tokens to report at each generated token, besides the
            token's own log-probability; `None` reports nothing.
        monitor: Traits onto whose directions the answer's hidden states are projected.
        monitor_layers: The 0-based decoder blocks where they are; `None` is those that each trait's
            vector selects.
        monitor_tokens: Whether each token's projections are reported, and the means of the prompt's
            turns, and not only the mean of the answer.
        format: What the answer must match; `None` is free text.
        prompt_logprobs: As `logprobs`, but of the prompt's tokens. With both, the token that ends
            an answer is reported as well.
        vectors: What steering and `monitor` can name besides the server's traits.
        turns: Where the turns of a chat lie in the prompt.
    """

    steering: SteeringParameters = field(default_factory=SteeringParameters)
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stop_words: tuple[str, ...] = ()
    stream: bool = False
    echo_prompt: bool = False
    logprobs: int | None = None
    monitor: tuple[str, ...] = ()
    monitor_layers: tuple[int, ...] | None = None
    format: AnswerFormat | None = None
    prompt_logprobs: int | None = None
    vectors: tuple[RequestVector, ...] = ()
    monitor_tokens: bool = False
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """The values of parameters that a request leaves out."""

    max_tokens: int = 200
    temperature: float = 0.8
    top_p: float = 0.9
    top_k: int = 50


def parse_generation_request(values: Values, defaults: GenerationDefaults) -> GenerationRequest:
    """Parses a request from the values of `tensors.REQUEST_INPUTS`; others are ignored.

    Raises:
        InvalidArgumentError: A value is missing, malformed, out of range or given twice.
    """
    values = _with_sampling_parameters(values)
    sampling = SamplingParameters(
        temperature=real(values, "temperature", defaults.temperature, 0.0, 2.0),
        top_k=_top_k(values, defaults.top_k),
        top_p=real(values, "top_p", defaults.top_p, 0.0, 1.0),
        min_p=real(values, "min_p", 0.0, 0.0, 1.0),
        repetition_penalty=real(values, "repetition_penalty", 1.0, 0.1, 2.0),
        frequency_penalty=real(values, "frequency_penalty", 0.0, -2.0, 2.0),
        presence_penalty=real(values, "presence_penalty", 0.0, -2.0, 2.0),
        logit_bias=_logit_bias(values),
        seed=_seed(values),
    )
    prompt_logprobs = integer(values, "prompt_logprobs", None, 0, MAX_TOP_LOGPROBS)
    max_tokens = _max_tokens(values, prompt_logprobs)
    min_tokens = integer(values, "min_tokens", None, 0, 2**31 - 1) or 0
    most = defaults.max_tokens if max_tokens is None else max_tokens
    if min_tokens > most:
        raise InvalidArgumentError(
            f"min_tokens is {min_tokens}: it must not exceed max_tokens, which is {most}"
        )
    ignore_eos, format = boolean(values, "ignore_eos", False), _format(values)
    if ignore_eos and format is not None:
        raise InvalidArgumentError(
            "format says where an answer ends, and ignore_eos goes on after that: leave one of "
            "them out"
        )
    monitor, monitor_layers = _monitor(values), layers_of(values, "monitor_layers")
    monitor_tokens = boolean(values, "monitor_tokens", False)
    for name, given in (("monitor_tokens", monitor_tokens), ("monitor_layers", monitor_layers)):
        if given and not monitor:
            raise InvalidArgumentError(
                f"{name} needs monitor: name the traits to read, or leave it out"
            )
    return GenerationRequest(
        steering=parse_steering(values),
        sampling=sampling,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        ignore_eos=ignore_eos,
        stop_words=_stop_words(values),
        stream=boolean(values, "stream", False),
        echo_prompt=not boolean(values, "exclude_input_in_output", True),
        logprobs=integer(values, "logprobs", None, 0, MAX_TOP_LOGPROBS),
        monitor=monitor,
        monitor_layers=monitor_layers,
        format=format,
        prompt_logprobs=prompt_logprobs,
        vectors=parse_request_vectors(values),
        monitor_tokens=monitor_tokens,
        turns=parse_turns(string(values, tensors.PROMPT_TURNS.name)),
    )


def _monitor(values: Values) -> tuple[str, ...]:
    traits = tuple(dict.fromkeys(str(trait) for trait in values.get("monitor", ())))
    if len(traits) > MAX_TRAITS:
        raise InvalidArgumentError(
            f"{len(traits)} traits are too many to monitor: give at most {MAX_TRAITS}"
        )
    if not all(traits):
        raise InvalidArgumentError("a trait to monitor is empty: name one, or leave monitor out")
    for trait in traits:
        check_trait_length(trait)
    return traits


def _logit_bias(values: Values) -> LogitBias:
    text = string(values, "logit_bias")
    return parse_logit_bias(text) if text else ()


def _format(values: Values) -> AnswerFormat | None:
    text = string(values, "format")
    return parse_answer_format(text) if text else None


def _stop_words(values: Values) -> tuple[str, ...]:
    # Clients of Triton that know the input send it empty if they want none.
    words = [str(word) for word in values.get("stop_words", ()) if word]
    if len(words) > MAX_STOP_WORDS:
        raise InvalidArgumentError(
            f"{len(words)} stop_words are too many: give at most {MAX_STOP_WORDS}"
        )
    for word in words:
        if len(word.encode()) > MAX_STOP_WORD_BYTES:
            raise InvalidArgumentError(
                f"a stop word has {len(word.encode())} bytes: the maximum is {MAX_STOP_WORD_BYTES}"
            )
    return tuple(dict.fromkeys(words))


def _seed(values: Values) -> int | None:
    seed: int | None = integer(values, "seed", None, -(2**63), 2**64 - 1)
    return None if seed is None else unsigned_seed(seed)


def unsigned_seed(seed: int) -> int:
    """Returns the seed from 0 to 2**64 - 1 that a seed is another name of.

    OpenAI's seeds are signed 64-bit integers, Triton's are unsigned: -1 is 2**64 - 1.
    """
    return seed % 2**64


def _max_tokens(values: Values, prompt_logprobs: int | None) -> int | None:
    max_tokens: int | None = integer(values, "max_tokens", None, 0, 2**31 - 1)
    if max_tokens == 0 and prompt_logprobs is None:
        raise InvalidArgumentError(
            "max_tokens is 0: give an integer from 1 to 2147483647, or ask for the log-"
            "probabilities of the prompt, which need no answer"
        )
    return max_tokens


def _top_k(values: Values, default: int) -> int:
    # -1 turns top-k off for clients written for vLLM, 0 for those written for transformers.
    top_k: int = integer(values, "top_k", default, -1, 2**31 - 1)
    return max(0, top_k)


_SAMPLING_PARAMETERS: dict[str, tuple[str, type]] = {
    "temperature": ("temperature", float),
    "top_p": ("top_p", float),
    "top_k": ("top_k", int),
    "min_p": ("min_p", float),
    "repetition_penalty": ("repetition_penalty", float),
    "frequency_penalty": ("frequency_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "logit_bias": ("logit_bias", dict),
    "max_tokens": ("max_tokens", int),
    "min_tokens": ("min_tokens", int),
    "seed": ("seed", int),
    "logprobs": ("logprobs", int),
    "prompt_logprobs": ("prompt_logprobs", int),
    "stop": ("stop_words", str),
}
"""vLLM's names inside `sampling_parameters`, with the tensor and type that each stands for."""


def _with_sampling_parameters(values: Values) -> Values:
    """Returns the values together with those in the `sampling_parameters` JSON."""
    text = string(values, "sampling_parameters")
    if not text:
        return values
    try:
        parameters = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"sampling_parameters is not valid JSON: {error}") from error
    if not isinstance(parameters, dict):
        raise InvalidArgumentError('sampling_parameters must be an object: {"temperature": 0.5}')
    merged: dict[str, Sequence[Any]] = dict(values)
    for key, value in parameters.items():
        if key not in _SAMPLING_PARAMETERS:
            raise InvalidArgumentError(
                f"sampling_parameters has {reprlib.repr(key)}: "
                f"use {', '.join(_SAMPLING_PARAMETERS)}"
            )
        name, kind = _SAMPLING_PARAMETERS[key]
        if value is None:
            continue
        if len(values.get(name, ())):
            raise InvalidArgumentError(
                f"{name} is given twice: as a tensor and inside sampling_parameters"
            )
        items = value if isinstance(value, list) and kind is str else [value]
        merged[name] = [_converted(key, item, kind) for item in items]
    return merged


def _converted(key: str, value: Any, kind: type) -> Any:
    # vLLM's own example client sends its numbers as strings.
    try:
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise ValueError(value)
        if kind is dict and isinstance(value, dict):
            return json.dumps(value)
        converted = kind(value)
        if isinstance(value, float) and value != converted:
            raise ValueError(value)
        if isinstance(converted, str):
            converted.encode()  # JSON can contain half of a surrogate pair, which is not text
    except (TypeError, ValueError, OverflowError) as error:
        expected = {float: "a number", int: "an integer", str: "text", dict: "an object"}[kind]
        raise InvalidArgumentError(
            f"sampling_parameters has {key} = {reprlib.repr(value)}: give {expected}"
        ) from error
    return converted
