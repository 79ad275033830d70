"""Tools over the real Triton: the official client and LangChain call them as at OpenAI."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import OpenAI
from transformers import PreTrainedTokenizerFast

from launcher.stack import Stack
from tests.e2e.openai.chatting import MODEL
from triton_models.settings import DEMO_MODEL_FOLDER

TOKENIZER = PreTrainedTokenizerFast.from_pretrained(DEMO_MODEL_FOLDER)


def function(name: str, properties: dict[str, Any], **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema, **fields}}


USER: Any = {"role": "user", "content": "What is the weather in Rome?"}
CITIES = ["Rome", "Oslo", "São Paulo"]
PROPERTIES: dict[str, Any] = {
    "city": {"type": "string", "enum": CITIES},
    "days": {"type": "integer", "minimum": 1, "maximum": 9},
}
WEATHER = function("get_weather", PROPERTIES, description="Tells the weather.")
STRICT = function("get_weather", PROPERTIES, strict=True)
TIME: dict[str, Any] = {"type": "function", "function": {"name": "get_time"}}
UNKNOWN = function("f", {"a": {"type": "string", "format": "weird"}}, strict=True)
CALL = {"id": "a", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "noon"}


def chat(client: OpenAI, *messages: Any, **options: Any) -> Any:
    options = {"temperature": 0, "max_tokens": 150, **options}
    return client.chat.completions.create(model=MODEL, messages=messages, **options)


def check(call: Any) -> None:
    """Makes sure that a call is one of the functions, with arguments that fit."""
    assert call.id
    arguments = json.loads(call.function.arguments)
    if call.function.name == "get_weather":
        assert set(arguments) == {"city", "days"}
        assert arguments["city"] in CITIES
        assert arguments["days"] in range(1, 10)
    else:
        assert (call.function.name, arguments) == ("get_time", {})


def test_tools_calls_and_results_are_rendered_by_the_model_s_own_template(client: OpenAI) -> None:
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
    answer = chat(client, *messages, tools=[WEATHER, TIME])
    call = {**CALL, "function": {"name": "get_time", "arguments": {}}}
    called = {"role": "assistant", "content": "", "tool_calls": [call]}
    render: Any = TOKENIZER.apply_chat_template
    expected = render(
        [USER, called, RESULT], tools=[WEATHER, TIME], add_generation_prompt=True, return_dict=False
    )
    assert answer.usage.prompt_tokens == len(expected)
    assert answer.choices[0].message.content


def test_tools_that_are_not_called_leave_the_answer_text(client: OpenAI) -> None:
    answer = chat(client, USER, tools=[TIME], tool_choice="none")
    assert answer.choices[0].message.content == chat(client, USER).choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


@pytest.mark.parametrize("seed", range(5))
def test_a_required_call_parses_and_fits_the_schema_whole_and_streamed(
    client: OpenAI, seed: int
) -> None:
    options: dict[str, Any] = {
        "tools": [WEATHER, TIME],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 1.5,
        "seed": seed,
        "max_tokens": 150,
        "n": 4,
    }
    whole = chat(client, USER, **options)
    with client.chat.completions.stream(model=MODEL, messages=[USER], **options) as stream:
        final = stream.get_final_completion()
    assert len(whole.choices) == len(final.choices) == 4
    choices: list[Any] = [*whole.choices, *final.choices]
    for choice in choices:
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        (call,) = choice.message.tool_calls
        check(call)


def test_a_stream_s_calls_join_to_those_of_the_whole_answer(client: OpenAI) -> None:
    options: dict[str, Any] = {
        "tools": [WEATHER, TIME],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "seed": 3,
        "temperature": 1.2,
    }
    (whole,) = chat(client, USER, **options).choices[0].message.tool_calls
    check(whole)
    assert whole.function.name == "get_weather"
    options = {"model": MODEL, "messages": [USER], "max_tokens": 150, **options}
    with client.chat.completions.stream(**options) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls
    assert calls
    (call,) = calls
    assert call.function.name == whole.function.name
    assert call.function.arguments == whole.function.arguments


def test_the_answer_to_a_result_reuses_what_was_computed_for_the_call(client: OpenAI) -> None:
    options: dict[str, Any] = {"tools": [TIME]}
    first = chat(client, USER, tool_choice="required", parallel_tool_calls=False, **options)
    message = first.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "noon"}
    second = chat(client, USER, message.model_dump(), result, **options)
    reused = second.usage.prompt_tokens_details.cached_tokens
    assert reused >= first.usage.prompt_tokens - 3
    assert second.choices[0].message.content


def test_a_strict_function_leaves_the_model_free_to_answer(client: OpenAI) -> None:
    choice = chat(client, USER, tools=[STRICT]).choices[0]
    assert choice.message.content or choice.message.tool_calls


def test_what_is_no_call_matches_the_response_format(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"rain": {"type": "boolean"}},
        "required": ["rain"],
        "additionalProperties": False,
    }
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    sampling: dict[str, Any] = {"temperature": 1.5, "seed": 1, "n": 8, "max_tokens": 150}
    answer = chat(client, USER, tools=[WEATHER, TIME], response_format=format, **sampling)
    for choice in answer.choices:
        if choice.message.tool_calls:
            assert choice.message.content is None
            for call in choice.message.tool_calls:
                check(call)
        else:
            assert set(json.loads(choice.message.content)) == {"rain"}
    assert len({choice.finish_reason for choice in answer.choices}) == 2


@pytest.mark.parametrize(
    ("options", "param", "says"),
    [
        ({"tools": [UNKNOWN]}, "tools", "cannot be enforced: Unknown format: weird"),
        ({"tools": [TIME, TIME]}, "tools[1].function.name", "a name of its own"),
        ({"tools": [TIME], "tool_choice": "always"}, "tool_choice", "required"),
    ],
)
def test_bad_tools_are_refused_by_their_place(
    client: OpenAI, options: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        chat(client, USER, **options)
    assert caught.value.param == param


def langchain(stack: Stack) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{stack.settings.gateway_url}/v1",
        api_key="none",  # type: ignore[arg-type]  # a secret, which pydantic makes of text
        model=MODEL,
        temperature=0,
        max_retries=0,
        max_tokens=150,  # type: ignore[call-arg]  # its other name
    )


@tool
def add(first: Literal[1, 2, 3], second: Literal[1, 2, 3]) -> int:
    """Adds two numbers."""
    return first + second


def test_langchain_binds_tools_and_gives_their_results_back(stack: Stack) -> None:
    model: Any = langchain(stack).bind_tools([add], tool_choice="add")
    question = HumanMessage("What is one and two?")
    answer = model.invoke([question])
    assert isinstance(answer, AIMessage)
    (call,) = answer.tool_calls
    assert call["name"] == "add"
    assert set(call["args"]) == {"first", "second"}
    pieces = model.stream([question])
    whole = next(pieces)
    for piece in pieces:
        whole = whole + piece
    assert whole.tool_calls[0]["args"] == call["args"]
    result = ToolMessage(str(add.invoke(call["args"])), tool_call_id=call["id"])
    assert langchain(stack).bind_tools([add]).invoke([question, answer, result]).content
