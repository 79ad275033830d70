"""What is refused is named as the client wrote it, whoever refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.field_names import renamed
from gateway.errors import InvalidRequestError, UnprocessableError
from tests.unit.gateway.protection_gateway import running
from triton_models.grpc_messages import TritonChunk

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
RESPONSE = {"input": "Hi"}
TEXT = {"prompt": "Hi"}
SCHEMA = {"type": "json_schema", "schema": {}}
IN_CHAT = {"type": "json_schema", "json_schema": {"schema": {}}}
CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Wait."},
    CALL,
    {**CALL, "call_id": "2"},
    {"type": "function_call_output", "call_id": "1", "output": "rain"},
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("a is 3: give 4", "A is 3: give 4"),
        ("a.b[1].c has 'x'", "A.b[1].c has 'x'"),
        ("a.b[0].c has 'x'", "first.c has 'x'"),
        ("a.b[0]: no", "first: no"),
        ("it is a word here", "it is a word here"),
        ("max_tokens and a.b[0], but 'max_tokens' as it is", "most and first, but 'max_tokens' as"),
        ("ab is another", "ab is another"),
    ],
)
def test_the_longest_known_place_is_renamed_and_words_are_not(message: str, expected: str) -> None:
    names = {"a": "A", "a.b[0]": "first", "max_tokens": "most"}
    error = renamed(UnprocessableError(message, "detail"), names)
    assert error.message.startswith(expected)
    assert (type(error), error.detail) == (UnprocessableError, "detail")
    unknown = InvalidRequestError(message)
    assert renamed(unknown, {}) is unknown


@pytest.mark.parametrize(
    ("route", "fields", "refused", "says", "param"),
    [
        ("responses", {"input": TURNS}, "messages[0] is long", "input[0] is long", "input[0]"),
        ("responses", {"input": TURNS}, "messages[2] is long", "input[4] is long", "input[4]"),
        (
            "responses",
            {"input": TURNS, "instructions": "Be brief."},
            "messages[2].tool_calls[1].function.arguments is long",
            "input[3].arguments is long",
            "input[3].arguments",
        ),
        (
            "responses",
            {**RESPONSE, "instructions": "Be brief."},
            "messages[0] cannot be rendered",
            "instructions cannot be rendered",
            "instructions",
        ),
        ("responses", RESPONSE, "tools: no", "tools: no", "tools"),
        (
            "responses",
            {**RESPONSE, "text": {"format": SCHEMA}},
            "format.schema: no",
            "text.format.schema: no",
            "text.format.schema",
        ),
        (
            "chat/completions",
            {**CHAT, "response_format": IN_CHAT},
            "format.schema: 'format' no",
            "response_format.json_schema.schema: 'format' no",
            "response_format.json_schema.schema",
        ),
        ("chat/completions", CHAT, "messages[0] is long", "messages[0] is long", "messages[0]"),
        ("completions", {**TEXT, "guided_json": {}}, "format.schema: no", "guided_json: no", None),
        ("completions", {**TEXT, "guided_regex": "x"}, "format.pattern: no", "guided_regex", None),
        (
            "completions",
            {**TEXT, "guided_choice": ["x"]},
            "format.choices: no",
            "guided_choi",
            None,
        ),
        ("completions", {**TEXT, "guided_grammar": "x"}, "format.grammar: no", "guided_gram", None),
        (
            "chat/completions",
            {**CHAT, "structured_outputs": {"regex": "x"}},
            "format.pattern: no",
            "structured_outputs.regex: no",
            "structured_outputs.regex",
        ),
        (
            "chat/completions",
            {**CHAT, "tools": [TOOL], "tool_choice": "required"},
            "format.grammar: at 4(12): failed to compile JSON schema: no",
            "tools: calls that fit the parameters cannot be enforced: no",
            "tools",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_the_model_server_s_refusals_say_the_client_s_names(
    monkeypatch: pytest.MonkeyPatch,
    route: str,
    fields: dict[str, Any],
    refused: str,
    says: str,
    param: str | None,
    stream: bool,
) -> None:
    answer = TritonChunk(
        finish_reason="error", error=refused, error_code="invalid_argument", final=True
    )
    async with running(monkeypatch, answer) as server:
        body = {"model": "persona", "stream": stream, **fields}
        response = await server.http.post(f"/v1/{route}", json=body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["message"].startswith(says)
    assert error["param"] == (param or error["message"].split(":")[0])


@pytest.mark.parametrize(
    ("route", "fields", "says"),
    [
        ("responses", {**RESPONSE, "max_output_tokens": 0}, "max_output_tokens is 0"),
        ("responses", {**RESPONSE, "max_tokens": 0}, "max_tokens is 0"),
        ("responses", {**RESPONSE, "top_logprobs": 21}, "top_logprobs is 21"),
        (
            "responses",
            {**RESPONSE, "max_output_tokens": 3, "min_tokens": 4},
            "min_tokens is 4: it must not exceed max_output_tokens, which is 3",
        ),
        ("responses", {"input": [{**CALL, "arguments": "["}]}, "input[0].arguments is not valid"),
        ("chat/completions", {**CHAT, "max_completion_tokens": 0}, "max_completion_tokens is 0"),
        ("chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 21}, "top_logprobs is 21"),
        ("completions", {**TEXT, "echo": True, "logprobs": 21}, "logprobs is 21"),
        ("completions", {"prompt": [1], "parse_special": True}, "prompt and parse_special"),
        ("completions", {**TEXT, "guided_regex": " "}, "guided_regex must be a text"),
        (
            "completions",
            {**TEXT, "guided_regex": "x", "ignore_eos": True},
            "guided_regex says where an answer ends",
        ),
        (
            "chat/completions",
            {**CHAT, "response_format": {"type": "json_object"}, "ignore_eos": True},
            "response_format says where an answer ends",
        ),
        ("responses", {"input": [{**CALL, "arguments": None}]}, "input.0.arguments: Field"),
        ("responses", {"input": [{**CALL, "argument": "{}"}]}, "input.0.argument: there is no"),
        ("responses", {"input": [TURNS[0], {"type": "x"}]}, "input.1: an item of"),
    ],
)
async def test_so_do_the_gateway_s_own(
    monkeypatch: pytest.MonkeyPatch, route: str, fields: dict[str, Any], says: str
) -> None:
    async with running(monkeypatch) as server:
        response = await server.http.post(f"/v1/{route}", json={"model": "persona", **fields})
        assert server.asked == []
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["message"].startswith(says)
    assert error["param"]
