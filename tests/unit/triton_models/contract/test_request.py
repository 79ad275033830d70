"""Requests: what each tensor means, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import (
    GenerationDefaults,
    GenerationRequest,
    parse_generation_request,
)
from triton_models.contract.steering import SteeringParameters, total_scalars

NAN, INFINITY = float("nan"), float("inf")


def parse(**values: Any) -> GenerationRequest:
    return parse_generation_request(
        {name: value if isinstance(value, list) else [value] for name, value in values.items()},
        GenerationDefaults(),
    )


def test_an_empty_request_gets_the_defaults() -> None:
    request = parse()
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.8, 0.9, 50)
    assert request.max_tokens is None
    assert request.steering == SteeringParameters()
    assert not request.stream
    assert not request.echo_prompt


def test_traits_and_scalars_pair_up_and_repeated_ones_add_up() -> None:
    steering = parse(trait=["sarcasm", "flattery", "sarcasm"], scalar=[1.0, 2.0, 0.5]).steering
    assert steering.scalars == {"sarcasm": 1.5, "flattery": 2.0}


def test_the_order_of_scalars_does_not_change_their_sum() -> None:
    scalars = [1e16, 1.0, -1e16]
    for given in (scalars, scalars[::-1], [1e16, -1e16, 1.0]):
        assert total_scalars({"trait": ["sarcasm"] * 3, "scalar": given}) == {"sarcasm": 1.0}
    assert total_scalars({}) == {}


def test_top_k_is_off_at_zero_and_at_minus_one() -> None:
    assert parse(top_k=0).sampling.top_k == parse(top_k=-1).sampling.top_k == 0


def test_vllm_s_sampling_parameters_are_taken_with_numbers_as_text() -> None:
    text = json.dumps(
        {"temperature": "0.5", "top_p": 0.7, "max_tokens": "9", "stop": ["x", "y"], "seed": None}
    )
    request = parse(sampling_parameters=text)
    assert (request.sampling.temperature, request.sampling.top_p) == (0.5, 0.7)
    assert (request.max_tokens, request.stop_words) == (9, ("x", "y"))
    assert request.sampling.seed is None


def test_every_unsigned_64_bit_seed_is_taken_as_it_is() -> None:
    for seed in (0, 9007199254740993, 2**64 - 1):
        assert parse(seed=seed).sampling.seed == seed
        assert parse(sampling_parameters=json.dumps({"seed": seed})).sampling.seed == seed


def test_nothing_is_reported_unless_asked_for() -> None:
    assert (parse().logprobs, parse().monitor) == (None, ())
    request = parse(logprobs=0, monitor=["sarcasm", "flattery", "sarcasm"])
    assert (request.logprobs, request.monitor) == (0, ("sarcasm", "flattery"))
    assert parse(sampling_parameters='{"logprobs": 3}').logprobs == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"logprobs": 21}, "logprobs is 21: give an integer from 0 to 20"),
        ({"logprobs": -1}, "from 0 to 20"),
        ({"monitor": [""]}, "a trait to monitor is empty"),
        ({"monitor": [str(i) for i in range(17)]}, "17 traits are too many to monitor"),
        ({"trait": ["a"], "scalar": [1.0, 2.0]}, "one scalar for each trait"),
        ({"trait": ["a"]}, "trait has 1 elements and scalar has 0"),
        ({"trait": [""], "scalar": [1.0]}, "a trait is empty"),
        ({"trait": ["a"], "scalar": [NAN]}, "'a' is nan: it must be a finite number"),
        ({"trait": ["a"], "scalar": [INFINITY]}, "must be a finite number"),
        ({"trait": ["a"] * 17, "scalar": [1.0] * 17}, "at most 16"),
        ({"positions": "everywhere"}, "use one of all, prompt, response"),
        ({"layers": [1, 1]}, "each once"),
        ({"layers": [-1]}, "0-based decoder blocks"),
        ({"temperature": -0.1}, "from 0 to 2"),
        ({"temperature": 2.1}, "from 0 to 2"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"top_p": -0.1}, "from 0 to 1"),
        ({"top_p": 1.1}, "from 0 to 1"),
        ({"top_k": -2}, "from -1"),
        ({"min_p": 1.5}, "from 0 to 1"),
        ({"repetition_penalty": 0.0}, "from 0.1 to 2"),
        ({"frequency_penalty": 3.0}, "from -2 to 2"),
        ({"presence_penalty": -3.0}, "from -2 to 2"),
        ({"max_tokens": 0}, "max_tokens is 0: give an integer from 1"),
        ({"max_tokens": [1, 2]}, "max_tokens has 2 elements"),
        ({"min_tokens": 9, "max_tokens": 3}, "must not exceed max_tokens"),
        ({"min_tokens": 500}, "which is 200"),
        ({"stop_words": ["x" * 300]}, "300 bytes"),
        ({"stop_words": [str(i) for i in range(17)]}, "at most 16"),
        ({"sampling_parameters": "{"}, "not valid JSON"),
        ({"sampling_parameters": "[]"}, "must be an object"),
        ({"sampling_parameters": '{"best_of": 2}'}, "'best_of': use temperature"),
        ({"sampling_parameters": '{"top_k": 1.5}'}, "give an integer"),
        ({"sampling_parameters": '{"top_p": "x"}'}, "give a number"),
        ({"sampling_parameters": '{"top_p": true}'}, "give a number"),
        ({"sampling_parameters": '{"stop": [3]}'}, "give text"),
        ({"sampling_parameters": '{"seed": 18446744073709551616}'}, "seed is 18446744073709551616"),
        ({"sampling_parameters": '{"temperature": []}'}, "give a number"),
        ({"sampling_parameters": '{"stop": ["\\ud800"]}'}, "give text"),
        ({"sampling_parameters": '{"seed": 3}', "seed": 3}, "seed is given twice"),
    ],
)
def test_a_refused_request_says_what_would_be_right(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        parse(**values)


@pytest.mark.parametrize("text", ['{"%s": 1}', '{"temperature": "%s"}', '{"top_k": [["%s"]]}'])
def test_a_refusal_does_not_repeat_a_long_value(text: str) -> None:
    values = {"sampling_parameters": [text % ("x" * 1_000_000)]}
    with pytest.raises(InvalidArgumentError) as refused:
        parse_generation_request(values, GenerationDefaults())
    assert len(str(refused.value)) < 500
