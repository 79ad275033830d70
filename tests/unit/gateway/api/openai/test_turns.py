"""Chats as agents, front ends and other servers' clients send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from gateway.api.openai.ensemble_requests import chat_requests, completion_requests
from gateway.api.openai.requests import ChatRequest, CompletionRequest
from gateway.errors import GatewayError
from gateway.settings import Settings

USER = {"role": "user", "content": "Hi"}
ASSISTANT = {"role": "assistant", "content": "Hello."}


def inputs(**fields: Any) -> dict[str, Any]:
    body = ChatRequest(**{"model": "persona", "messages": [USER], **fields})
    (request,) = chat_requests(body, [], Settings())
    return dict(request.values)


def messages(*sent: dict[str, Any]) -> Any:
    return json.loads(inputs(messages=list(sent))["messages"][0])


@pytest.mark.parametrize(
    "roles",
    [
        ["system", "user", "assistant", "system", "user"],
        ["system", "developer", "user"],
        ["developer"],
        ["user", "user", "assistant", "assistant"],
        ["user", "assistant"],
    ],
)
def test_turns_come_in_any_order(roles: list[str]) -> None:
    turns = messages(*({"role": role, "content": role} for role in roles))
    assert [turn["content"] for turn in turns] == roles
    assert {turn["role"] for turn in turns} <= {"system", "user", "assistant"}


def test_what_asks_for_nothing_passes() -> None:
    nulls = {"reasoning_content": None, "provider_specific_fields": None, "cache_control": None}
    assert messages(USER, ASSISTANT | nulls, USER) == [USER, ASSISTANT, USER]
    assert inputs(thinking=None, tools=None, stream_options={"other": None}) == inputs()


def test_what_other_models_thought_is_ignored() -> None:
    thought = {"reasoning_content": "hm", "provider_specific_fields": {"a": 1}}
    assert messages(USER, ASSISTANT | thought, USER) == [USER, ASSISTANT, USER]


def test_the_official_client_s_own_dump_of_an_answer_passes() -> None:
    dump = ChatCompletionMessage(role="assistant", content="Hello.").model_dump()
    assert messages(USER, dump, USER) == [USER, ASSISTANT, USER]


def test_an_answer_goes_on_after_the_last_message() -> None:
    plain = inputs(messages=[USER, ASSISTANT])
    assert "continue_final_message" not in plain
    going_on = inputs(messages=[USER, ASSISTANT], continue_final_message=True)
    assert going_on == {**plain, "continue_final_message": [True]}
    as_vllm = {"continue_final_message": True, "add_generation_prompt": False}
    both = inputs(messages=[USER, ASSISTANT], **as_vllm)
    assert both == {**going_on, "add_generation_prompt": [False]}
    with pytest.raises(GatewayError, match="exclude each other"):
        inputs(continue_final_message=True, add_generation_prompt=True)


def test_a_prompt_s_special_tokens_can_be_text() -> None:
    fields: dict[str, Any] = {"model": "persona", "prompt": "<|im_end|>", "parse_special": False}
    (request,) = completion_requests(CompletionRequest(**fields), [], Settings())
    assert request.values["parse_special"] == [False]
