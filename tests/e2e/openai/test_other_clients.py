"""LiteLLM, pydantic-ai from Python 3.11 on, and instructor where it is installed.

instructor needs another jiter than the official client that the other tests are made with.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from openai import OpenAI
from pydantic import BaseModel, ConfigDict

from launcher.stack import Stack
from tests.e2e.openai.chatting import MESSAGES, MODEL, PROMPT, SARCASM, chat, text_of


class Answer(BaseModel):
    # A schema that allowed for more fields would leave it to the model when to end.
    model_config = ConfigDict(extra="forbid")

    loud: bool


@pytest.fixture
def litellm(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, dict[str, Any]]:
    """LiteLLM, and what a call of it needs."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    module = import_module("litellm")
    address = {"api_base": f"{stack.settings.gateway_url}/v1", "api_key": "none"}
    return module, {"model": f"openai/{MODEL}", "messages": MESSAGES, "temperature": 0, **address}


def test_litellm_chats_streams_and_steers(
    litellm: tuple[Any, dict[str, Any]], client: OpenAI
) -> None:
    module, call = litellm
    assert text_of(module.completion(**call)) == text_of(chat(client))
    chunks = [chunk.choices[0] for chunk in module.completion(**call, stream=True)]
    assert "".join(each.delta.content or "" for each in chunks) == text_of(chat(client))
    steered = module.completion(**call, extra_body={"steering": SARCASM})
    assert text_of(steered) == text_of(chat(client, "persona:sarcasm=2"))


def test_litellm_falls_back_if_the_context_is_exceeded(
    litellm: tuple[Any, dict[str, Any]],
) -> None:
    module, call = litellm
    with pytest.raises(module.ContextWindowExceededError):
        module.completion(**{**call, "messages": [{"role": "user", "content": "word " * 6000}]})


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA", "RESPONSES_TOOLS"])
def test_instructor_gets_an_object(client: OpenAI, mode: str) -> None:
    instructor = pytest.importorskip("instructor")
    patched = instructor.from_openai(client, mode=getattr(instructor.Mode, mode))
    answer = patched.create(
        model=MODEL, response_model=Answer, messages=MESSAGES, max_retries=0, temperature=0
    )
    assert isinstance(answer, Answer)


@pytest.mark.parametrize("name", ["OpenAIChatModel", "OpenAIResponsesModel"])
async def test_pydantic_ai_answers_streams_and_gets_an_object(
    stack: Stack, client: OpenAI, name: str
) -> None:
    pydantic_ai = pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.openai")
    providers = pytest.importorskip("pydantic_ai.providers.openai")
    url = f"{stack.settings.gateway_url}/v1"
    model = getattr(models, name)(
        MODEL, provider=providers.OpenAIProvider(base_url=url, api_key="none")
    )
    greedy: dict[str, Any] = {"temperature": 0}
    agent = pydantic_ai.Agent(model, model_settings=greedy)
    expected = text_of(chat(client))
    assert (await agent.run(PROMPT)).output == expected
    async with agent.run_stream(PROMPT) as stream:
        assert "".join([text async for text in stream.stream_text(delta=True)]) == expected
    for output in (Answer, pydantic_ai.NativeOutput(Answer)):
        typed = pydantic_ai.Agent(model, output_type=output, model_settings=greedy)
        assert isinstance((await typed.run(PROMPT)).output, Answer)
