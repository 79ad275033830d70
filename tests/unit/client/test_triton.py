"""The direct client's tensors and errors, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from persona_client import errors, triton
from persona_client.protocol import Options
from triton_models.contract import tensors


def test_options_become_the_inputs_of_the_contract() -> None:
    inputs = triton.make_inputs(
        "hi",
        {"sarcasm": 2.0, "flattery": -1.0},
        {
            "stop": "END",
            "max_tokens": 5,
            "layers": [1, 2],
            "messages": [{"role": "user"}],
            "logprobs": 0,
            "monitor": ["sarcasm"],
        },
        stream=True,
    )
    assert inputs == {
        "text_input": ["hi"],
        "stream": [True],
        "trait": ["sarcasm", "flattery"],
        "scalar": [2.0, -1.0],
        "stop_words": ["END"],
        "max_tokens": [5],
        "layers": [1, 2],
        "messages": ['[{"role": "user"}]'],
        "logprobs": [0],
        "monitor": ["sarcasm"],
    }


@pytest.mark.parametrize("name", sorted(Options.__annotations__))
def test_an_option_that_is_none_is_left_out(name: str) -> None:
    assert triton.make_inputs("hi", {}, {name: None}, stream=False) == {"text_input": ["hi"]}


def test_an_unknown_option_is_refused_with_those_there_are() -> None:
    with pytest.raises(errors.InvalidRequestError, match="temperature"):
        triton.make_request(tensors.PERSONA, "", {"temprature": [1.0]})


@pytest.mark.parametrize(
    ("name", "value"), [("max_tokens", 2**40), ("top_p", 1e99), ("temperature", [1.0, 2.0])]
)
def test_a_value_that_does_not_fit_its_input_is_refused(name: str, value: Any) -> None:
    inputs = triton.make_inputs("hi", {}, {name: value}, stream=False)
    with pytest.raises(errors.InvalidRequestError, match="a value cannot be sent"):
        triton.make_request(tensors.PERSONA, "", inputs)


@pytest.mark.parametrize(
    ("message", "status", "kind"),
    [
        (
            "in ensemble 'persona', 'steered_qwen' is not at ready state",
            None,
            errors.UnavailableError,
        ),
        ("failed to connect", StatusCode.UNAVAILABLE, errors.ConnectionFailedError),
        ("Deadline Exceeded", StatusCode.DEADLINE_EXCEEDED, errors.ConnectionFailedError),
        (
            "in ensemble 'persona', Stub process 'steered_qwen_0_0' is not healthy.",
            None,
            errors.UnavailableError,
        ),
        (
            "This protocol is restricted, expecting header 'a'",
            StatusCode.UNAVAILABLE,
            errors.NotAllowedError,
        ),
        ("anything", None, errors.ServerError),
    ],
)
def test_triton_s_errors_are_told_apart(
    message: str, status: StatusCode | None, kind: type[errors.PersonaError]
) -> None:
    error = triton.error_of_triton(status, message)
    assert type(error) is kind
    assert "in ensemble" not in error.message


def test_a_key_that_cannot_be_one_is_refused_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_ACCESS_KEY", "too:short")
    with pytest.raises(ValueError, match="TRITON_ACCESS_KEY cannot be used: use 16") as raised:
        triton.TritonPersonaClient()
    assert "too:short" not in str(raised.value)
    triton.TritonPersonaClient(access_key="")
    triton.TritonPersonaClient(access_key="b" * 40)
