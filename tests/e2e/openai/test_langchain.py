"""LangChain's chats, steered and streamed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from langchain_openai import ChatOpenAI

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_open
from tests.e2e.openai.chatting import MODEL, PROMPT, SARCASM, steered
from tests.e2e.waiting import eventually


def langchain(stack: Stack, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{stack.settings.gateway_url}/v1",
        api_key="none",  # type: ignore[arg-type]  # a secret, which pydantic makes of text
        temperature=0,
        max_retries=0,
        **options,
    )


def test_langchain_chats_steered_by_the_body_or_by_the_model_s_name(
    stack: Stack, api: httpx.Client
) -> None:
    expected = steered(api)
    by_name = langchain(stack, model="persona:sarcasm=2").invoke(PROMPT)
    assert by_name.content == expected["response"]
    assert by_name.usage_metadata
    assert by_name.usage_metadata["output_tokens"] == expected["tokens_generated"]
    assert by_name.response_metadata["finish_reason"] == "stop"
    by_body = langchain(stack, model=MODEL, extra_body={"steering": SARCASM})
    assert by_body.invoke([("system", ""), ("user", PROMPT)]).content
    assert by_body.invoke(PROMPT).content == expected["response"]


async def test_langchain_streams_and_awaits(stack: Stack, api: httpx.Client) -> None:
    model = langchain(stack, model="persona:sarcasm=2", max_tokens=20)
    expected = steered(api, max_tokens=20)["response"]
    assert "".join(str(chunk.content) for chunk in model.stream(PROMPT)) == expected
    assert (await model.ainvoke(PROMPT)).content == expected
    pieces = []
    with held_engine(stack.triton) as engine:
        begun = asyncio.Event()

        async def read() -> None:
            async for chunk in model.astream(PROMPT):
                pieces.append(str(chunk.content))
                if any(pieces):
                    begun.set()

        reading = asyncio.create_task(read())
        await asyncio.to_thread(eventually, lambda: num_open(stack.settings.grpc_address) == 1)
        engine.steps(BEGINNING)
        await begun.wait()
        text = "".join(pieces)
    await reading
    assert "".join(pieces) == expected != text
