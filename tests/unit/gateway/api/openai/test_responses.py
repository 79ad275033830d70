"""Responses: what a request means, and the shapes of what comes back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

from gateway.api.openai.ensemble_requests import response_request
from gateway.api.openai.response_answer import ResponseAnswer
from gateway.api.openai.response_requests import ResponseRequest
from gateway.errors import OverloadedError
from gateway.http.server_sent_events import ending_in_words
from gateway.settings import Settings
from tests.unit.gateway.generation.test_generation import likely
from tests.unit.gateway.scripted_generation import HELLO, LO, make
from triton_models.grpc_messages import TritonChunk

TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ulm"}}\n</tool_call>'
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def body(**fields: Any) -> ResponseRequest:
    return ResponseRequest.model_validate({"model": "persona", "input": "hi", **fields})


def inputs(**fields: Any) -> dict[str, Any]:
    return dict(response_request(body(**fields), [], Settings()).values)


def messages(**fields: Any) -> list[Any]:
    return list(json.loads(inputs(**fields)["messages"][0]))


def answer(*responses: Any, **fields: Any) -> ResponseAnswer:
    asked = body(**fields)
    return ResponseAnswer(
        asked, response_request(asked, [], Settings()), make(*responses)[0], log_fields={}
    )


async def events(answer: ResponseAnswer) -> list[dict[str, Any]]:
    found = []
    async for event in answer.events():
        name, data = event.decode().rstrip("\n").split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        EVENT.validate_python(found[-1], strict=False)
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    return found


def test_a_text_is_the_user_s_turn_after_the_instructions() -> None:
    assert messages() == [{"role": "user", "content": "hi"}]
    system = {"role": "system", "content": "Be brief."}
    assert messages(instructions="Be brief.") == [system, {"role": "user", "content": "hi"}]


def test_items_are_turns_and_those_of_one_turn_are_one() -> None:
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}],
        },
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "rain"},
        {"type": "function_call_output", "call_id": "2", "output": "sun"},
    ]
    user, assistant, *results = messages(input=items)
    assert (user["content"], assistant["content"]) == ("a", "b")
    assert len(assistant["tool_calls"]) == 2
    assert [(each["role"], each["content"]) for each in results] == [
        ("tool", "rain"),
        ("tool", "sun"),
    ]


def test_fields_reach_the_ensemble() -> None:
    asked = inputs(max_output_tokens=5, temperature=0.5, top_p=0.5, top_logprobs=2, seed=-1)
    assert {name: asked[name] for name in ("max_tokens", "temperature", "top_p", "logprobs")} == {
        "max_tokens": [5],
        "temperature": [0.5],
        "top_p": [0.5],
        "logprobs": [2],
    }
    assert asked["seed"] == [2**64 - 1]
    assert inputs(include=["message.output_text.logprobs"])["logprobs"] == [0]
    assert "logprobs" not in inputs(include=["reasoning.encrypted_content"])
    schema = {"type": "object"}
    format = {"type": "json_schema", "name": "x", "schema": schema, "strict": True}
    shown = json.loads(inputs(text={"format": format})["format"][0])
    assert shown == {"type": "json_schema", "schema": schema}
    assert "format" not in inputs(text={"format": {"type": "text"}, "verbosity": "medium"})
    (tool,) = json.loads(inputs(tools=[TOOL])["tools"][0])
    assert tool["function"]["name"] == "weather"
    # A call that has to be made leaves no text that could have a format.
    forced = {"tools": [TOOL], "tool_choice": "required"}
    assert inputs(**forced, text={"format": format})["format"] == inputs(**forced)["format"]


@pytest.mark.parametrize(
    ("fields", "place", "says"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored"),
        ({"conversation": "conv_1"}, "conversation", "nothing is stored"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "no prompts are stored"),
        ({"background": True}, "background", "not supported"),
        ({"truncation": "auto"}, "truncation", "is refused"),
        ({"tools": [{"type": "web_search"}]}, "tools.0", "'web_search' is not supported"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "required"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort", "does not reason"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format", "json_schema"),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "no levels"),
        ({"input": []}, "input", "at least 1"),
        ({"input": [{"type": "reasoning"}]}, "input.0", "'reasoning' is not supported"),
        ({"input": [{"type": {}}]}, "input.0", "{} is not supported"),
        ({"input": [{"role": "user", "content": [{"type": []}]}]}, "input.0.content", "[]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input.0.content",
            "text only",
        ),
        ({"max_output_token": 5}, "max_output_token", "did you mean max_output_tokens?"),
        ({"max_output_tokens": 5, "max_tokens": 5}, "", "give one"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "at most 16"),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_name(
    fields: dict[str, Any], place: str, says: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        body(**fields)
    problem = caught.value.errors()[0]
    assert ".".join(map(str, problem["loc"])) == place
    assert says in problem["msg"]


@pytest.mark.parametrize(
    "fields",
    [
        {"store": True, "user": "me", "service_tier": "auto", "background": False},
        {"tools": [], "tool_choice": "auto", "truncation": "disabled", "max_tool_calls": 3},
        {"reasoning": {"effort": "none", "summary": "auto"}, "stream_options": {}},
        {"previous_response_id": None, "conversation": None, "reasoning": None, "text": None},
    ],
)
def test_what_asks_for_nothing_passes(fields: dict[str, Any]) -> None:
    assert inputs(**fields) == inputs()


async def test_a_whole_response_has_openai_s_fields() -> None:
    whole = await answer(HELLO, LO, metadata={"a": "b"}, max_output_tokens=9).complete()
    response = Response.model_validate(whole, strict=False)
    assert response.output_text == "Hello"
    assert (response.status, response.incomplete_details) == ("completed", None)
    assert (response.metadata, response.max_output_tokens) == ({"a": "b"}, 9)
    assert response.usage
    assert (response.usage.input_tokens, response.usage.output_tokens) == (4, 2)
    assert response.usage.input_tokens_details.cached_tokens == 3
    assert not whole["store"]


async def test_a_cut_response_is_incomplete() -> None:
    whole = await answer(HELLO, dataclasses.replace(LO, finish_reason="length")).complete()
    assert whole["status"] == "incomplete"
    assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
    assert whole["output"][0]["status"] == "incomplete"


async def test_a_stream_has_the_official_sequence_of_events() -> None:
    streamed = answer(HELLO, LO)
    found = await events(streamed)
    kinds = [each["type"].removeprefix("response.") for each in found]
    deltas = [kind for kind in kinds if kind == "output_text.delta"]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert found[0]["response"]["output"] == []
    assert "".join(each.get("delta", "") for each in found) == "Hello"
    whole = Response.model_validate(found[-1]["response"], strict=False)
    assert whole.output_text == "Hello"
    assert len({each["response"]["id"] for each in found if "response" in each}) == 1


async def test_an_empty_answer_has_an_empty_text() -> None:
    found = await events(answer(TritonChunk(finish_reason="stop", final=True)))
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == ""
    assert [each["type"] for each in found].count("response.output_item.done") == 1


async def test_calls_are_items_beside_the_text() -> None:
    text = TritonChunk(text="Let me see.\n", num_output_tokens=3)
    call = TritonChunk(text=CALL, num_output_tokens=9, finish_reason="stop", final=True)
    found = await events(answer(text, call, tools=[TOOL]))
    message, called = found[-1]["response"]["output"]
    assert message["content"][0]["text"] == "Let me see."
    assert (called["type"], called["name"]) == ("function_call", "weather")
    assert json.loads(called["arguments"]) == {"city": "Ulm"}
    kinds = [each["type"].removeprefix("response.") for each in found]
    assert kinds[-5:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    whole = await answer(text.followed_by(call), tools=[TOOL]).complete()
    assert [item["type"] for item in whole["output"]] == ["message", "function_call"]


async def test_logprobs_stand_beside_their_text() -> None:
    last = dataclasses.replace(LO, logprobs=(likely("lo"),))
    found = await events(answer(last, top_logprobs=0))
    (delta,) = [each for each in found if each["type"] == "response.output_text.delta"]
    part = found[-1]["response"]["output"][0]["content"][0]
    assert delta["logprobs"] == part["logprobs"] == [likely("lo")]


async def test_an_error_before_the_answer_is_left_to_the_status_and_a_later_one_is_an_event() -> (
    None
):
    with pytest.raises(OverloadedError):
        await events(answer(OverloadedError("full")))
    begun = answer(HELLO, OverloadedError("full"))
    stream = ending_in_words(begun.events(), begun.error_event)
    *_, last = [event async for event in stream]
    failed = json.loads(last.decode().split("data: ")[1])
    EVENT.validate_python(failed, strict=False)
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "full"}
