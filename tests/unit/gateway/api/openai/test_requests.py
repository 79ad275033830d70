"""What OpenAI's clients send means the same to the ensemble, or is refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.ensemble_requests import chat_requests, completion_requests
from gateway.api.openai.model_names import model_cards, named_traits
from gateway.api.openai.requests import ChatRequest, CompletionRequest
from gateway.errors import InvalidRequestError, ModelNotFoundError, UnprocessableError
from gateway.settings import Settings

CHAT: dict[str, Any] = {"model": "persona", "messages": [{"role": "user", "content": "hi"}]}
TEXT: dict[str, Any] = {"model": "persona", "prompt": "hi"}
DESCRIPTION: dict[str, Any] = {
    "model": "Qwen/Qwen2.5-3B-Instruct",
    "model_info": {"context_length": 4096},
    "traits": {
        "flattery": {"recommended_range": None},
        "sarcasm": {"recommended_range": [-2.5, 3.0]},
        "sexism": {"recommended_range": [0.0, 2.0]},
    },
}


def chat(**fields: Any) -> list[dict[str, Any]]:
    body = ChatRequest(**{**CHAT, **fields})
    named = named_traits(body.model, DESCRIPTION)
    return [dict(each.values) for each in chat_requests(body, named, Settings())]


def text(**fields: Any) -> list[dict[str, Any]]:
    body = CompletionRequest(**{**TEXT, **fields})
    named = named_traits(body.model, DESCRIPTION)
    return [dict(each.values) for each in completion_requests(body, named, Settings())]


def test_a_chat_goes_to_the_chat_template() -> None:
    (inputs,) = chat()
    assert inputs == {
        "text_input": [""],
        "messages": ['[{"role": "user", "content": "hi"}]'],
        "stream": [False],
    }


def test_a_prompt_goes_to_the_model_as_it_is() -> None:
    (inputs,) = text()
    assert inputs == {"text_input": ["hi"], "raw": [True], "stream": [False]}


def test_every_sampling_field_reaches_the_ensemble() -> None:
    fields: dict[str, Any] = {
        "max_tokens": 9,
        "min_tokens": 1,
        "ignore_eos": True,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
        "stream": True,
    }
    for (inputs,) in (chat(**fields), text(**fields)):
        assert {name: inputs[name] for name in fields} == {
            name: [value] for name, value in fields.items()
        }


@pytest.mark.parametrize("stop", ["a", ["a"]])
def test_stop_strings_may_be_one_or_several(stop: Any) -> None:
    assert chat(stop=stop)[0]["stop_words"] == ["a"]


def test_openai_s_newer_name_of_max_tokens_is_taken() -> None:
    assert chat(max_completion_tokens=5)[0]["max_tokens"] == [5]


def test_parts_of_text_are_joined_and_a_developer_is_the_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "s"}, {"role": "user", "content": parts}]
    assert json.loads(chat(messages=messages)[0]["messages"][0]) == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a\nb"},
    ]


def test_logprobs_are_asked_for_in_either_api_s_way() -> None:
    assert "logprobs" not in chat()[0]
    assert chat(logprobs=True)[0]["logprobs"] == [0]
    assert chat(logprobs=True, top_logprobs=3)[0]["logprobs"] == [3]
    assert text(logprobs=2)[0]["logprobs"] == [2]


def test_each_of_n_answers_has_a_seed_that_can_be_asked_for_alone() -> None:
    assert [inputs["seed"] for inputs in chat(n=3, seed=2**64 - 1)] == [[2**64 - 1], [0], [1]]
    assert all("seed" not in inputs for inputs in chat(n=2))


def test_the_answers_to_one_prompt_stand_side_by_side() -> None:
    inputs = text(prompt=["a", "b"], n=2, seed=5)
    assert [(each["text_input"], each["seed"]) for each in inputs] == [
        (["a"], [5]),
        (["a"], [6]),
        (["b"], [5]),
        (["b"], [6]),
    ]


def test_echo_is_left_to_the_model_server() -> None:
    assert text(echo=True)[0]["exclude_input_in_output"] == [False]


def test_steering_rides_along() -> None:
    steering = {
        "traits": [{"name": "sarcasm", "scalar": 2.0}, {"name": "flattery", "scalar": -1.0}],
        "layers": [1],
        "positions": "response",
        "monitor": ["sarcasm"],
    }
    (inputs,) = chat(steering=steering)
    assert (inputs["trait"], inputs["scalar"]) == (["sarcasm", "flattery"], [2.0, -1.0])
    assert (inputs["layers"], inputs["positions"]) == ([1], ["response"])
    assert inputs["monitor"] == ["sarcasm"]


def test_a_model_s_name_can_say_the_steering_and_the_body_the_rest() -> None:
    model = "persona:sarcasm=2, flattery=-.5"
    (inputs,) = chat(model=model, steering={"layers": [1], "monitor": ["sarcasm"]})
    assert (inputs["trait"], inputs["scalar"]) == (["sarcasm", "flattery"], [2.0, -0.5])
    assert (inputs["layers"], inputs["monitor"]) == ([1], ["sarcasm"])


def test_traits_in_both_places_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="use one of them"):
        chat(model="persona:sarcasm=2", steering={"traits": [{"name": "sarcasm", "scalar": 1}]})


@pytest.mark.parametrize("model", ["persona", "Qwen/Qwen2.5-3B-Instruct"])
def test_the_model_has_its_own_name_and_an_alias(model: str) -> None:
    assert named_traits(model, DESCRIPTION) == []


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("gpt-4o", "use 'Qwen/Qwen2.5-3B-Instruct' or 'persona'"),
        ("", "is not served"),
        ("persona:", "a trait and its scalar should be"),
        ("persona:sarcasm", "a trait and its scalar should be"),
        ("persona:sarcasm=", "a trait and its scalar should be"),
        ("persona:sarcasm=much", "'sarcasm=much'"),
        ("persona:sarcasm=nan", "'sarcasm=nan'"),
        ("persona:sarcasm=1e99", "'sarcasm=1e99'"),
        ("persona:=1", "'=1'"),
        ("persona:sarcasm=1,,", "''"),
        ("persona:rudeness=1", "the traits are flattery, sarcasm, sexism"),
        ("persona:" + ",".join(["sarcasm=1"] * 17), "at most 16"),
    ],
)
def test_other_models_are_not_found_and_the_right_ones_named(model: str, says: str) -> None:
    with pytest.raises(ModelNotFoundError, match=says):
        named_traits(model, DESCRIPTION)


def test_the_list_has_the_model_and_each_trait_as_far_as_it_is_recommended() -> None:
    cards = model_cards(DESCRIPTION)
    names = [card["id"] for card in cards]
    assert names == [
        "Qwen/Qwen2.5-3B-Instruct",
        "persona:flattery=1",
        "persona:flattery=-1",
        "persona:sarcasm=3",
        "persona:sarcasm=-2.5",
        "persona:sexism=2",
    ]
    for name in names:
        named_traits(name, DESCRIPTION)
    assert {card["object"] for card in cards} == {"model"}


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(("user", "service_tier", "safety_identifier", "prompt_cache_key"), "x"),
        {"metadata": {"a": "b"}, "store": True, "parallel_tool_calls": False},
        {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
        {"tools": None, "tool_choice": "none", "logit_bias": {}, "modalities": ["text"]},
        {"response_format": {"type": "text"}, "seed": None, "stream": None, "n": None},
        {"stream_options": {"include_usage": False, "include_obfuscation": False}},
        {"messages": [{"role": "user", "content": "hi", "name": "ann", "tool_calls": None}]},
    ],
)
def test_what_makes_no_difference_is_ignored(fields: dict[str, Any]) -> None:
    assert chat(**fields) == chat()


USER = {"role": "user", "content": "hi"}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}


@pytest.mark.parametrize(
    ("fields", "place", "says"),
    [
        ({"stering": {}}, "stering", "did you mean steering?"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"zzz": 1}, "zzz", "the fields are"),
        ({"steering": {"trait": []}}, "steering.trait", "did you mean traits?"),
        ({"\ud800": 1}, "\\ud800", "there is no such field"),
        ({"functions": [{}]}, "functions", "replaced functions by tools"),
        ({"function_call": {"name": "x"}}, "function_call", "by tool_choice"),
        ({"web_search_options": {}}, "web_search_options", "searches nothing"),
        ({"audio": {"voice": "x"}}, "audio", "text only"),
        ({"modalities": ["text", "audio"]}, "modalities", "text only"),
        ({"logit_bias": {"1": "much"}}, "logit_bias.1", "valid number"),
        ({"messages": [IMAGE]}, "messages.0.content", "'image_url' is not supported"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role", "'developer'"),
        ({"messages": [USER | {"tool_call_id": "x"}]}, "messages.0", "of the role tool"),
        ({"messages": [USER | {"function_call": {}}]}, "messages.0.function_call", "by tools"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content", "required"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content", "surrogate"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 33}, "n", "less than or equal to 32"),
        ({"top_logprobs": 1}, "", "top_logprobs needs logprobs"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "", "give one"),
        ({"steering": {"traits": [{"name": "sarcasm"}]}}, "steering.traits.0.scalar", "required"),
        ({"stream_options": {"usage": True}}, "stream_options.usage", "include_usage"),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_name(
    fields: dict[str, Any], place: str, says: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        chat(**fields)
    problem = caught.value.errors()[0]
    assert ".".join(map(str, problem["loc"])) == place
    assert says in problem["msg"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": [1, -2]}, "list of token ids"),
        ({"prompt": [[1, 2], [True]]}, "list of token ids"),
        ({"prompt": [1, "a"]}, "list of token ids"),
        ({"prompt": [[]]}, "the prompt is empty"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": []}, "at least 1"),
        ({"prompt": None}, "Field required"),
        ({"prompt": ["a"] * 17, "n": 2}, "more than 32 answers"),
        ({"suffix": "x"}, "not supported"),
        ({"best_of": 3, "n": 2}, "not supported"),
        ({"echo": True, "logprobs": 1, "prompt_logprobs": 2}, "the same number"),
    ],
)
def test_completions_say_what_they_do_not_take(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        text(**fields)


def test_values_out_of_range_are_refused_by_the_model_server_s_rules() -> None:
    with pytest.raises(UnprocessableError, match="logprobs is 21"):
        chat(logprobs=True, top_logprobs=21)
