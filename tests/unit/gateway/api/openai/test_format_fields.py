"""What OpenAI's and vLLM's fields about the form of an answer come to."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.openai.ensemble_requests import chat_requests, completion_requests
from gateway.api.openai.requests import ChatRequest, CompletionRequest
from gateway.settings import Settings
from triton_models.contract.answer_format import AnswerFormat

SCHEMA = {"type": "string"}
OF_SCHEMA = AnswerFormat("json_schema", '{"type": "string"}', "format.schema")
OF_REGEX = AnswerFormat("regex", "a+", "format.pattern")
OF_CHOICE = AnswerFormat("regex", r"a\.|b", "format.choices")
OF_GRAMMAR = AnswerFormat("grammar", 'start: "a"', "format.grammar")


def described(**schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def chat(**fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "Hi"}]
    return ChatRequest.model_validate({"model": "m", "messages": messages, **fields})


@pytest.mark.parametrize(
    ("fields", "format"),
    [
        ({}, None),
        ({"response_format": None}, None),
        ({"response_format": {"type": "text"}}, None),
        (
            {"response_format": {"type": "json_object"}},
            AnswerFormat("json_schema", '{"type": "object"}', "format"),
        ),
        (described(name="x", strict=True, schema=SCHEMA), OF_SCHEMA),
        (described(name="x", strict=False, description="y", schema=SCHEMA), OF_SCHEMA),
        ({"guided_json": SCHEMA}, OF_SCHEMA),
        ({"guided_json": '{"type": "string"}', "guided_decoding_backend": "auto"}, OF_SCHEMA),
        ({"guided_regex": "a+"}, OF_REGEX),
        ({"guided_regex": "a+", "response_format": {"type": "text"}}, OF_REGEX),
        ({"guided_choice": ["a.", "b"]}, OF_CHOICE),
        ({"guided_grammar": 'start: "a"'}, OF_GRAMMAR),
        ({"structured_outputs": {"json": SCHEMA, "regex": None}}, OF_SCHEMA),
        ({"structured_outputs": {"regex": "a+", "disable_any_whitespace": True}}, OF_REGEX),
        ({"structured_outputs": {"choice": ["a.", "b"]}}, OF_CHOICE),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, OF_GRAMMAR),
    ],
)
def test_each_way_to_say_it_asks_the_model_for_the_same(
    fields: dict[str, Any], format: AnswerFormat | None
) -> None:
    (of_chat,) = chat_requests(chat(**fields), [], Settings())
    completion = CompletionRequest.model_validate({"model": "m", "prompt": "Hi", **fields})
    (of_completion,) = completion_requests(completion, [], Settings())
    assert of_chat.parsed.format == of_completion.parsed.format == format


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"response_format": "json"}, "use text, json_object or json_schema"),
        ({"response_format": {"type": "structural_tag"}}, "'structural_tag'"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "'schema' is not supported"),
        ({"response_format": {"type": "json_schema", "schema": {}}}, "'schema' is not supported"),
        ({"response_format": {"type": "json_schema"}}, "give the schema as"),
        (described(schema=SCHEMA, stritc=True), "'stritc' is not supported"),
        ({"guided_json": "["}, "Expecting value"),
        ({"guided_json": "[]"}, "give a JSON schema"),
        ({"structured_outputs": {}}, "0 things to follow"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "2 things to follow"),
        ({"structured_outputs": {"structural_tag": "x"}}, "'structural_tag' is not supported"),
        ({"guided_json": {}, "guided_regex": "x"}, "guided_json and guided_regex all say"),
        (
            {"structured_outputs": {"regex": "x"}, "response_format": {"type": "json_object"}},
            "response_format and structured_outputs all say",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("[", r"\[")):
        chat(**fields)
