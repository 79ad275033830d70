"""Choices among a part of the tools, in the shapes of both APIs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.ensemble_requests import chat_requests, response_request
from gateway.api.openai.requests import ChatRequest
from gateway.api.openai.response_answer import ResponseAnswer
from gateway.api.openai.response_requests import ResponseRequest
from gateway.ensemble_request import EnsembleRequest
from gateway.settings import Settings
from tests.unit.gateway.scripted_generation import LO, make

NAMES = ("weather", "time", "news")


def of_chat(name: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def of_response(name: Any) -> dict[str, Any]:
    return {"type": "function", "name": name}


def response(choice: Any, **fields: Any) -> ResponseRequest:
    fields = {"tools": list(map(of_response, NAMES)), "tool_choice": choice, **fields}
    return ResponseRequest.model_validate({"model": "persona", "input": "hi", **fields})


def chat(choice: Any, **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "hi"}]
    fields = {"tools": list(map(of_chat, NAMES)), "tool_choice": choice, **fields}
    return ChatRequest.model_validate({"model": "persona", "messages": messages, **fields})


def asked(mode: Any, *names: Any, **fields: Any) -> list[EnsembleRequest]:
    """Returns what the ensemble is asked for over both APIs."""
    tools = {"mode": mode, "tools": list(map(of_chat, names))}
    (of_one,) = chat_requests(
        chat({"type": "allowed_tools", "allowed_tools": tools}, **fields), [], Settings()
    )
    tools = {"mode": mode, "tools": list(map(of_response, names))}
    body = response({"type": "allowed_tools", **tools}, **fields)
    return [of_one, response_request(body, [], Settings())]


@pytest.mark.parametrize(
    ("mode", "fields", "start"),
    [
        ("auto", {}, "start: call* text\n"),
        ("auto", {"parallel_tool_calls": False}, "start: text | call\n"),
        ("required", {}, 'start: call ("\\n" call)*\n'),
        ("required", {"parallel_tool_calls": False}, "start: call\n"),
    ],
)
def test_the_model_sees_all_tools_and_can_call_the_allowed_ones_alone(
    mode: str, fields: dict[str, Any], start: str
) -> None:
    for request in asked(mode, "weather", "news", **fields):
        shown = json.loads(request.values["tools"][0])
        assert [each["function"]["name"] for each in shown] == list(NAMES)
        lark = json.loads(request.values["format"][0])["grammar"]
        assert lark.startswith(start)
        assert [name in lark for name in NAMES] == [True, False, True]


def test_to_allow_all_is_to_leave_the_model_free() -> None:
    for request in asked("auto", *NAMES):
        assert "format" not in request.values


def test_a_call_of_another_tool_is_no_call() -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [of_response("time")]}
    calling = response(choice).calling
    assert calling is not None
    assert calling.names == {"time"}


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        of_response("time"),
        {"type": "allowed_tools", "mode": "auto", "tools": [of_response("time")]},
    ],
)
async def test_a_response_says_the_choice_as_it_was_made(choice: Any) -> None:
    body = response(choice)
    request = response_request(body, [], Settings())
    answer = await ResponseAnswer(body, request, make(LO)[0], log_fields={}).complete()
    assert answer["tool_choice"] == choice


@pytest.mark.parametrize(
    ("described", "says"),
    [
        (None, "the mode of allowed_tools is None: use auto or required"),
        ([], "the mode of allowed_tools is None"),
        ({"mode": "none", "tools": [of_chat("time")]}, "is 'none': use auto or required"),
        ({"mode": [], "tools": [of_chat("time")]}, "is []: use auto"),
        ({"mode": "auto"}, "are no list of functions"),
        ({"mode": "auto", "tools": []}, "are no list of functions"),
        ({"mode": "auto", "tools": ["time"]}, "are no list of functions"),
        ({"mode": "auto", "tools": [of_response("time")]}, "are no list of functions"),
        ({"mode": "auto", "tools": [{"type": "custom", "custom": {}}]}, "no list of functions"),
        ({"mode": "auto", "tools": [of_chat("play")]}, "names the function 'play', which is none"),
    ],
)
def test_what_is_no_choice_is_refused(described: Any, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        chat({"type": "allowed_tools", "allowed_tools": described})
    (problem,) = caught.value.errors()
    assert says in problem["msg"]


@pytest.mark.parametrize("choice", ["any", {}, 3, {"type": "custom", "custom": {"name": "x"}}])
def test_other_choices_are_refused_with_those_that_can_be(choice: Any) -> None:
    for make_body in (chat, response):
        with pytest.raises(ValidationError, match='use "none", "auto", "required",'):
            make_body(choice)
