"""What a newcomer tries with the official client: its helpers work as they do at OpenAI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool, pydantic_responses_function_tool
from pydantic import BaseModel

from launcher.stack import Stack
from tests.e2e.openai.chatting import MESSAGES, MODEL, PROMPT, chat

NAMES = ("get_time", "get_news", "get_weather")


class Mood(BaseModel):
    """How somebody feels."""

    feeling: Literal["calm", "angry"]
    reason: Literal["rain", "sun"] | None


class Weather(BaseModel):
    """Tells the weather."""

    city: Literal["Rome", "Oslo"]


def test_chats_are_parsed_whole_and_streamed(client: OpenAI) -> None:
    options: Any = {"model": MODEL, "messages": MESSAGES, "response_format": Mood}
    whole = client.chat.completions.parse(temperature=0, **options)
    assert isinstance(whole.choices[0].message.parsed, Mood)
    with client.beta.chat.completions.stream(temperature=0, **options) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.parsed == whole.choices[0].message.parsed


def test_responses_are_parsed_whole_and_streamed(client: OpenAI) -> None:
    options: Any = {"model": MODEL, "input": PROMPT, "text_format": Mood, "temperature": 0}
    whole = client.responses.parse(**options)
    assert isinstance(whole.output_parsed, Mood)
    with client.responses.stream(**options) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert {"response.created", "response.output_text.done", "response.completed"} <= kinds
    assert final.output_parsed == whole.output_parsed


async def test_the_asynchronous_client_parses_as_well(stack: Stack) -> None:
    url = f"{stack.settings.gateway_url}/v1"
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        parsed = await client.chat.completions.parse(
            model=MODEL, messages=MESSAGES, response_format=Mood
        )
        assert isinstance(parsed.choices[0].message.parsed, Mood)
        answer = await client.responses.parse(model=MODEL, input=PROMPT, text_format=Mood)
        assert isinstance(answer.output_parsed, Mood)


def test_an_answer_that_is_cut_is_the_client_s_own_error(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model=MODEL, messages=MESSAGES, response_format=Mood, max_tokens=3
        )


def test_arguments_of_calls_are_parsed(client: OpenAI) -> None:
    of_chat = client.chat.completions.parse(
        model=MODEL,
        messages=MESSAGES,
        tools=[pydantic_function_tool(Weather)],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    (call,) = of_chat.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
    of_response = client.responses.parse(
        model=MODEL,
        input=PROMPT,
        tools=[pydantic_responses_function_tool(Weather)],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    (item,) = of_response.output
    assert item.type == "function_call"
    assert isinstance(item.parsed_arguments, Weather)


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_s_own_loop_calls_functions_until_there_is_an_answer(
    stack: Stack, stream: bool
) -> None:
    runner = pytest.importorskip("openai.lib.responses_tool_runner")
    sent: list[dict[str, Any]] = []

    class Steered(httpx.HTTPTransport):
        """Has the first turn call, and ends the second, which the demo model does not by itself."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            body = json.loads(request.read())
            more: Mapping[str, Any] = {"stop": [" "]}
            if not sent:
                more = {"tool_choice": "required", "parallel_tool_calls": False}
            sent.append({**body, **more})
            headers = [each for each in request.headers.items() if each[0] != "content-length"]
            content = json.dumps(sent[-1])
            steered = httpx.Request(request.method, request.url, headers=headers, content=content)
            return super().handle_request(steered)

    seen: list[Weather] = []

    def tell(weather: Weather) -> str:
        seen.append(weather)
        return "sunny"

    function = runner.RegisteredFunction.from_tool(
        pydantic_responses_function_tool(Weather), execute=tell
    )
    url = f"{stack.settings.gateway_url}/v1"
    asked = {"model": MODEL, "input": PROMPT, "temperature": 0, "max_output_tokens": 200}
    with (
        httpx.Client(transport=Steered()) as http,
        OpenAI(base_url=url, api_key="none", max_retries=0, http_client=cast(Any, http)) as client,
    ):
        answer = runner.ResponsesToolRunner(functions=[function]).run(client, asked, stream=stream)
    assert answer.status == "completed"
    assert len(seen) == 1
    assert sent[1]["input"][-1]["output"] == "sunny"


def test_models_take_what_is_allowed_of_the_tools(client: OpenAI) -> None:
    nothing = {"type": "object", "properties": {}, "additionalProperties": False}
    functions = [{"name": name, "parameters": nothing} for name in NAMES]
    of_chat: Any = [{"type": "function", "function": each} for each in functions]
    allowed: Any = {"mode": "required", "tools": of_chat[1:2]}
    answer = chat(
        client,
        tools=of_chat,
        tool_choice={"type": "allowed_tools", "allowed_tools": allowed},
        parallel_tool_calls=False,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == NAMES[1]
    of_response: Any = [{"type": "function", **each} for each in functions]
    choice: Any = {"type": "allowed_tools", "mode": "required", "tools": of_response[1:2]}
    response = client.responses.create(
        model=MODEL,
        input=PROMPT,
        tools=of_response,
        tool_choice=choice,
        parallel_tool_calls=False,
        temperature=0,
    )
    (item,) = response.output
    assert item.type == "function_call"
    assert item.name == NAMES[1]


@pytest.mark.parametrize("more", [{}, {"instructions": "Be brief."}])
def test_input_tokens_are_counted_without_an_answer(client: OpenAI, more: dict[str, Any]) -> None:
    counted = client.responses.input_tokens.count(model=MODEL, input=PROMPT, **more)
    answer = client.responses.create(model=MODEL, input=PROMPT, max_output_tokens=1, **more)
    assert answer.usage is not None
    assert counted.input_tokens == answer.usage.input_tokens
    assert counted.object == "response.input_tokens"


def test_what_there_is_not_is_said(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is nothing at '/v1/embeddings': /docs"):
        client.embeddings.create(model=MODEL, input="x")
    with pytest.raises(openai.APIStatusError, match="DELETE is not for '/v1/models/"):
        client.models.delete(MODEL)
