"""What a request can say about single tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triton_models.contract.errors import InvalidArgumentError
from triton_models.contract.request import GenerationDefaults, parse_generation_request


def bias_of(**values: Any) -> tuple[tuple[int, float], ...]:
    return parse_generation_request(values, GenerationDefaults()).sampling.logit_bias


def test_tokens_are_named_by_their_ids() -> None:
    assert bias_of() == bias_of(logit_bias=[""]) == bias_of(logit_bias=["{}"]) == ()
    assert bias_of(logit_bias=['{"0": -100, "1234": 0.5}']) == ((0, -100.0), (1234, 0.5))
    most = {str(token): 1 for token in range(300)}
    assert len(bias_of(logit_bias=[json.dumps(most)])) == 300


def test_vllm_s_parameters_can_hold_them() -> None:
    parameters = {"temperature": 0, "logit_bias": {"7": -1}}
    assert bias_of(sampling_parameters=[json.dumps(parameters)]) == ((7, -1.0),)
    with pytest.raises(InvalidArgumentError, match="logit_bias = 3: give an object"):
        bias_of(sampling_parameters=['{"logit_bias": 3}'])
    with pytest.raises(InvalidArgumentError, match="logit_bias is given twice"):
        bias_of(sampling_parameters=[json.dumps(parameters)], logit_bias=["{}"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "is not valid JSON"),
        ("[1]", "must be an object"),
        ('{"-1": 1}', "has '-1': name tokens by their ids"),
        ('{"01": 1}', "has '01'"),
        ('{" 1": 1}', "has ' 1'"),
        ('{"the": 1}', "has 'the'"),
        ('{"²": 1}', "has '²'"),
        ('{"12345678901": 1}', "has '12345678901'"),
        ('{"1": 100.5}', "has 100.5 for the token 1: give a number from -100 to 100"),
        ('{"1": -101}', "has -101"),
        ('{"1": NaN}', "has nan"),
        ('{"1": true}', "has True"),
        ('{"1": "2"}', "has '2'"),
        ('{"1": null}', "has None"),
        (json.dumps(dict.fromkeys(map(str, range(301)), 1)), "has 301 tokens: the maximum is 300"),
    ],
)
def test_what_cannot_be_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        bias_of(logit_bias=[text])
    assert caught.value.message.startswith("logit_bias ")
    assert says in caught.value.message
