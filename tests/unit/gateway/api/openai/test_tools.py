"""Tools as OpenAI's clients offer them: what reaches the ensemble, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.ensemble_requests import chat_requests
from gateway.api.openai.requests import ChatRequest
from gateway.api.openai.tools import named_tools
from gateway.errors import GatewayError, UnprocessableError
from gateway.settings import Settings

USER = {"role": "user", "content": "Will it rain in Rome?"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}


def tool(name: Any = "weather", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **fields}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def inputs(**fields: Any) -> dict[str, Any]:
    body = ChatRequest(**{"model": "persona", "messages": [USER], **fields})
    (request,) = chat_requests(body, [], Settings())
    return dict(request.values)


def grammar(**fields: Any) -> str:
    format = json.loads(inputs(**fields)["format"][0])
    assert format["type"] == "grammar"
    return str(format["grammar"])


def test_tools_go_to_the_chat_template_without_what_is_the_server_s() -> None:
    described = tool(description="Tells the weather.", strict=False)
    (shown,) = json.loads(inputs(tools=[described])["tools"][0])
    assert shown == tool(description="Tells the weather.")
    assert list(shown["function"]) == ["name", "description", "parameters"]


@pytest.mark.parametrize("fields", [{}, {"tool_choice": "auto"}, {"parallel_tool_calls": True}])
def test_the_model_may_call_and_is_free_to(fields: dict[str, Any]) -> None:
    assert set(inputs(tools=[tool()], **fields)) == {*inputs(), "tools"}


def test_the_model_can_be_kept_from_more_than_one_call() -> None:
    assert grammar(tools=[tool()], parallel_tool_calls=False).startswith("start: text | call\n")


def test_schemas_may_list_the_items_of_an_array() -> None:
    items = [{"type": "string"}, {"type": "integer"}]
    parameters = {"type": "object", "properties": {"pair": {"type": "array", "items": items}}}
    assert inputs(tools=[tool(parameters=parameters)])


def test_what_is_no_call_matches_the_response_format() -> None:
    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}}
    named_schema = {"name": "x", "schema": schema}
    format = {"type": "json_schema", "json_schema": named_schema}
    lark = grammar(tools=[tool()], response_format=format)
    assert lark.startswith('start: answer | call ("\\n" call)*\n')
    assert '"rain"' in lark
    assert "answer" in grammar(tools=[tool()], response_format={"type": "json_object"})
    assert "rain" not in grammar(tools=[tool()], response_format=format, tool_choice="required")
    none = inputs(tools=[tool()], response_format=format, tool_choice="none")
    assert json.loads(none["format"][0])["type"] == "json_schema"
    assert "format" not in inputs(tools=[tool()], response_format={"type": "text"})


def test_with_the_choice_none_the_model_sees_no_tools() -> None:
    assert inputs(tools=[tool()], tool_choice="none") == inputs()


def test_a_call_can_be_required_and_its_arguments_fit_the_schema() -> None:
    lark = grammar(tools=[tool(), tool("time", parameters=None)], tool_choice="required")
    assert lark.startswith('start: call ("\\n" call)*\n')
    assert '"{\\"name\\": \\"weather\\", \\"arguments\\": " %json {' in lark
    assert '"additionalProperties": false' in lark
    one = grammar(tools=[tool()], tool_choice="required", parallel_tool_calls=False)
    assert one.startswith("start: call\n")


def test_a_function_can_be_chosen_and_is_called_once() -> None:
    tools = [tool(), tool("time")]
    lark = grammar(tools=tools, tool_choice=named("time"))
    assert lark.startswith("start: call\n")
    assert "weather" not in lark
    assert len(json.loads(inputs(tools=tools, tool_choice=named("time"))["tools"][0])) == 2


def test_a_strict_function_s_arguments_fit_wherever_it_is_called() -> None:
    lark = grammar(tools=[tool(strict=True), tool("time")])
    assert lark.startswith("start: call* text\n")
    # What the schema of a strict function says is taken to the letter.
    assert lark.count('"additionalProperties": false') == 1
    assert lark.count('"lenient": false') == 1


def test_calls_and_their_results_are_part_of_a_chat() -> None:
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL | {"index": 0}]}
    parts = [{"type": "text", "text": "yes"}]
    result = {"role": "tool", "tool_call_id": "call_1", "content": parts, "name": "weather"}
    sent = json.loads(inputs(messages=[USER, calling, result])["messages"][0])
    assert sent == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "yes"},
    ]
    empty = {"role": "assistant", "content": "No.", "tool_calls": []}
    assert json.loads(inputs(messages=[USER, empty])["messages"][0])[1] == {
        "role": "assistant",
        "content": "No.",
    }


@pytest.mark.parametrize(
    ("fields", "place", "says"),
    [
        ({"tools": [{}]}, "tools.0.type", "required"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools.0.custom", "tools are functions"),
        ({"tools": [{"type": "function"}]}, "tools.0.function", "required"),
        ({"tools": [tool(name=None)]}, "tools.0.function.name", "required"),
        ({"tools": [tool("a b")]}, "tools.0.function.name", "pattern"),
        ({"tools": [tool("a" * 65)]}, "tools.0.function.name", "pattern"),
        ({"tools": [tool(parameter={})]}, "tools.0.function.parameter", "mean parameters?"),
        ({"tools": [tool(parameters=[])]}, "tools.0.function.parameters", "dictionary"),
        (
            {"tools": [tool(parameters={"type": "string"})]},
            "tools.0.function.parameters",
            "has the type 'object'",
        ),
        (
            {"tools": [tool(parameters={"properties": {"a": {"items": {"type": "text"}}}})]},
            "tools.0.function.parameters",
            "'a'[] has the type 'text'",
        ),
        (
            {"tools": [tool(parameters={"properties": []})]},
            "tools.0.function.parameters",
            "no object",
        ),
        (
            {"tools": [tool(parameters={"required": [1]})]},
            "tools.0.function.parameters",
            "list of names",
        ),
        ({"tools": [tool(parameters=deep(600))]}, "tools.0.function.parameters", "too deeply"),
        ({"tools": [tool(), tool("b"), tool()]}, "", "tools[2].function.name is that of tools[0]"),
        ({"tools": [tool()] * 129}, "tools", "at most 128"),
        ({"tools": [tool()], "tool_choice": "always"}, "tool_choice", '"required"'),
        ({"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice", "use"),
        ({"tools": [tool()], "tool_choice": named("rain")}, "", "tool_choice names the function"),
        ({"tool_choice": "required"}, "", "tool_choice asks for a call"),
        ({"tools": [tool()], "guided_regex": "a+"}, "", "tools go only with a format of JSON"),
        ({"messages": [USER | {"tool_calls": [CALL]}]}, "messages.0", "are an assistant's"),
        (
            {"messages": [{"role": "assistant", "content": None}]},
            "messages.0.content",
            "required",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]},
            "messages.0.tool_calls.0.function",
            "required",
        ),
    ],
)
def test_bad_tools_and_calls_are_refused_by_their_place(
    fields: dict[str, Any], place: str, says: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        inputs(**fields)
    problem = caught.value.errors()[0]
    assert ".".join(map(str, problem["loc"])) == place
    assert says in problem["msg"]


@pytest.mark.parametrize("arguments", ["{", "[]", "rome", '{"a":' * 600 + "1" + "}" * 600])
def test_arguments_that_are_no_json_object_are_refused_by_their_place(arguments: str) -> None:
    call = {**CALL, "function": {"name": "weather", "arguments": arguments}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    expected = r"^messages\[1\].tool_calls\[0\].function.arguments (must|is not|is nested)"
    with pytest.raises(GatewayError, match=expected):
        inputs(messages=[USER, calling])


def test_a_description_that_is_no_proper_unicode_is_refused() -> None:
    with pytest.raises(GatewayError, match=r"^tools has half of a surrogate pair"):
        inputs(tools=[tool(parameters={"type": "object", "description": "\ud800"})])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("format.grammar has 9 bytes: give 8", "it has 9 bytes: give 8"),
        ("format.grammar: at 4(12): failed to compile JSON schema: no", "no"),
        ("format.grammar: 'not' is not supported", "'not' is not supported"),
    ],
)
def test_what_is_wrong_with_the_grammar_is_said_of_the_tools(message: str, expected: str) -> None:
    error = named_tools(UnprocessableError(message))
    assert error.message == f"tools: calls that fit the parameters cannot be enforced: {expected}"
    assert isinstance(error, UnprocessableError)
    other = UnprocessableError("seed is 3")
    assert named_tools(other) is other


def test_tools_count_as_part_of_the_prompt() -> None:
    body = ChatRequest(model="persona", messages=[USER], tools=[tool(description="x" * 200)])  # type: ignore[list-item]
    with pytest.raises(GatewayError, match="send at most 200"):
        chat_requests(body, [], Settings(max_prompt_chars=200))
