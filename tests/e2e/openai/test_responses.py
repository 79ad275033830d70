"""Responses, as the official client sees them: the answers of the gateway's own API."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from launcher.stack import Stack
from tests.e2e.openai.chatting import MODEL, PROMPT, SARCASM, baseline, chat, steered, text_of


def respond(client: OpenAI, model: str = MODEL, **options: Any) -> Any:
    return client.responses.create(model=model, **{"input": PROMPT, "temperature": 0, **options})


def test_a_response_says_what_the_rest_api_says(client: OpenAI, api: httpx.Client) -> None:
    plain, turned = baseline(api), steered(api)
    answer = respond(client)
    assert answer.output_text == plain["response"] != turned["response"]
    assert (answer.status, answer.model) == ("completed", MODEL)
    assert answer.usage.input_tokens == plain["prompt_tokens"]
    assert answer.usage.output_tokens == plain["tokens_generated"]
    assert respond(client, extra_body={"steering": SARCASM}).output_text == turned["response"]
    assert respond(client, "persona:sarcasm=2").output_text == turned["response"]


def test_instructions_and_items_are_a_chat(client: OpenAI) -> None:
    items: list[Any] = [
        {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]},
        *respond(client, max_output_tokens=8).output,
        {"role": "user", "content": "Go on."},
    ]
    answer = respond(client, input=items, instructions="Be brief.", max_output_tokens=12)
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": text_of(chat(client, max_tokens=8))},
        {"role": "user", "content": "Go on."},
    ]
    expected = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=12
    )
    assert answer.output_text == text_of(expected)


def test_a_stream_is_accumulated_by_the_client_itself(client: OpenAI, api: httpx.Client) -> None:
    expected = steered(api)["response"]
    with client.responses.stream(model="persona:sarcasm=2", input=PROMPT, temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == expected
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") > 1


async def test_the_asynchronous_client_works_too(stack: Stack, api: httpx.Client) -> None:
    url = f"{stack.settings.gateway_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        whole = await client.responses.create(model=MODEL, input=PROMPT, temperature=0)
        stream = await client.responses.create(
            model=MODEL, input=PROMPT, temperature=0, stream=True
        )
        pieces = [
            event.delta async for event in stream if event.type == "response.output_text.delta"
        ]
    assert whole.output_text == "".join(pieces) == baseline(api)["response"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_cut_is_incomplete(client: OpenAI, stream: bool) -> None:
    answer = respond(client, max_output_tokens=3, stream=stream)
    if stream:
        *_, last = list(answer)
        assert last.type == "response.incomplete"
        answer = last.response
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 3


def test_an_answer_follows_a_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"is_bread": {"type": "boolean"}},
        "required": ["is_bread"],
        "additionalProperties": False,
    }
    format = {"type": "json_schema", "name": "bread", "schema": schema, "strict": True}
    answer = respond(client, text={"format": format})
    assert json.loads(answer.output_text).keys() == {"is_bread"}


def test_a_function_can_be_called(client: OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"loud": {"type": "boolean"}},
        "required": ["loud"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "name": "bake", "parameters": parameters, "strict": True}
    options: dict[str, Any] = {"tools": [tool], "tool_choice": {"type": "function", "name": "bake"}}
    (call,) = respond(client, **options).output
    assert (call.type, call.name) == ("function_call", "bake")
    assert json.loads(call.arguments).keys() == {"loud"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    items: list[Any] = [{"role": "user", "content": PROMPT}, call, result]
    assert respond(client, input=items, tools=[tool], max_output_tokens=8).output
    *_, last = list(respond(client, stream=True, **options))
    assert last.response.output[0].arguments == call.arguments


@pytest.mark.parametrize(
    ("options", "kind", "param", "code"),
    [
        ({"model": "gpt-5"}, openai.NotFoundError, "model", "model_not_found"),
        ({"temperature": 9}, openai.BadRequestError, "temperature", "invalid_argument"),
        (
            {"previous_response_id": "resp_1"},
            openai.BadRequestError,
            "previous_response_id",
            "invalid_argument",
        ),
        (
            {"input": "word " * 6000},
            openai.BadRequestError,
            "input",
            "context_length_exceeded",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_the_client_s_own_errors(
    client: OpenAI,
    options: dict[str, Any],
    kind: type[openai.APIStatusError],
    param: str,
    code: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        respond(client, stream=stream, **options)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_nothing_is_stored(client: OpenAI) -> None:
    answer = respond(client, store=True, max_output_tokens=3)
    assert not answer.store
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_readouts_and_warnings_reach_the_client(client: OpenAI) -> None:
    steering = {**SARCASM, "monitor": ["sarcasm"]}
    answer = respond(client, extra_body={"steering": steering}, max_output_tokens=5)
    assert answer.steering["readouts"].keys() == {"sarcasm"}
