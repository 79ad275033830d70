"""A body means the same to the ensemble as to whoever sent it, or is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.ensemble_requests import request_of
from gateway.api.request_bodies import BaselineRequest, GenerateRequest
from gateway.errors import UnprocessableError
from gateway.settings import Settings
from triton_models.contract import tensors

STEERED: dict[str, Any] = {"prompt": "hi", "trait": "sarcasm", "scalar": 2}


def inputs_of(settings: Settings | None = None, **body: Any) -> dict[str, Any]:
    return dict(request_of(GenerateRequest(**{**STEERED, **body}), settings or Settings()).values)


def test_what_a_body_leaves_out_is_left_to_the_model_server() -> None:
    assert inputs_of() == {
        "text_input": ["hi"],
        "trait": ["sarcasm"],
        "scalar": [2.0],
        "stream": [False],
    }


def test_defaults_set_for_the_gateway_are_sent_unless_the_body_has_its_own() -> None:
    settings = Settings(max_tokens=50, temperature=0.0, top_p=0.5)
    inputs = inputs_of(settings, temperature=1.0)
    assert (inputs["max_tokens"], inputs["temperature"], inputs["top_p"]) == ([50], [1.0], [0.5])


def test_every_field_reaches_an_input_of_the_ensemble() -> None:
    body: dict[str, Any] = {
        "system_prompt": "s",
        "add_generation_prompt": False,
        "continue_final_message": True,
        "max_tokens": 9,
        "min_tokens": 1,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.1,
        "seed": 1,
        "stop": ["a", "b"],
        "logprobs": 3,
        "logit_bias": {"7": -1.5},
        "prompt_logprobs": 2,
        "monitor": ["sarcasm", "flattery"],
        "monitor_layers": [2, 1],
        "monitor_tokens": True,
        "format": {"type": "choice", "choices": ["ä", "b"]},
        "stream": True,
        "layers": [1, 2],
        "positions": "response",
        "steering": {"operations": [{"trait": "flattery", "kind": "ablate"}]},
    }
    # A raw prompt has no system turn, and an answer that ignores its end no format.
    raw = inputs_of(raw=True, parse_special=False, ignore_eos=True)
    inputs = {**raw, **inputs_of(**body)}
    assert inputs["stop_words"] == ["a", "b"]
    assert inputs["layers"] == [1, 2]
    assert inputs["logit_bias"] == ['{"7": -1.5}']
    assert (inputs["logprobs"], inputs["monitor"]) == ([3], ["sarcasm", "flattery"])
    assert inputs["prompt_logprobs"] == [2]
    assert inputs["format"] == ['{"type": "choice", "choices": ["ä", "b"]}']
    known = {spec.name for spec in tensors.PERSONA_INPUTS}
    assert set(inputs) <= known
    assert known - set(inputs) == {
        "messages",
        "tools",
        "exclude_input_in_output",
        "sampling_parameters",
        "prompt_ids",
        "monitor_turns",
        "vectors",  # see `sent_vectors`
    }


def test_messages_take_the_place_of_the_prompt() -> None:
    body = BaselineRequest(messages=[{"role": "user", "content": "hallo ü"}])  # type: ignore[list-item]
    inputs = request_of(body, Settings()).values
    assert inputs["text_input"] == [""]
    assert inputs["messages"] == ['[{"role": "user", "content": "hallo ü"}]']


def test_to_monitor_no_trait_is_to_monitor_nothing() -> None:
    assert "monitor" not in inputs_of(monitor=[])


def test_a_baseline_can_be_monitored() -> None:
    body = BaselineRequest(prompt="hi", monitor=["sarcasm"], logprobs=0)
    inputs = request_of(body, Settings()).values
    assert (inputs["monitor"], inputs["logprobs"]) == (["sarcasm"], [0])


def test_one_stop_string_need_not_be_a_list() -> None:
    assert inputs_of(stop="END")["stop_words"] == ["END"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("temperature", 9, "from 0 to 2"),
        ("top_p", -0.1, "from 0 to 1"),
        ("max_tokens", 0, "from 1"),
        ("layers", [1, 1], "each once"),
        ("min_tokens", 300, "must not exceed max_tokens"),
        ("logprobs", 21, "from 0 to 20"),
        ("monitor", [""], "a trait to monitor is empty"),
    ],
)
def test_values_out_of_range_are_refused_by_the_model_server_s_rules(
    field: str, value: Any, says: str
) -> None:
    with pytest.raises(UnprocessableError, match=says):
        inputs_of(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt", " \n", "empty"),
        ("prompt", None, "Field required"),
        ("prompt", "\ud800", "surrogate"),
        ("scalar", float("nan"), "finite"),
        ("scalar", float("inf"), "finite"),
        ("scalar", 1e39, "too large"),
        ("scalar", 1e-60, "too small"),
        ("seed", -(2**63) - 1, "greater than or equal to"),
        ("seed", 2**64, "less than or equal to"),
        ("max_tokens", 2**31, "less than or equal to"),
        ("layers", [], "at least 1"),
        ("positions", "some", "'all', 'prompt' or 'response'"),
        ("trait", "", "at least 1"),
        ("messages", [], "at least 1"),
        ("temprature", 1, "Extra inputs"),
    ],
)
def test_bodies_that_do_not_validate_say_why(field: str, value: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GenerateRequest(**{**STEERED, field: value})


def test_a_prompt_and_messages_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="not both"):
        GenerateRequest(**{**STEERED, "messages": [{"role": "user", "content": "x"}]})


def test_a_baseline_takes_no_steering() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        BaselineRequest(**STEERED)
