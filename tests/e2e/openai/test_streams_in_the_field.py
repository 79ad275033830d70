"""Streams of hard characters, of several seeded answers, with comments, and of clients that go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_openai import ChatOpenAI
from openai import OpenAI

from launcher.stack import Stack
from persona_client.rest import PersonaClient
from tests.e2e.gateways import RunningGateway, gateway
from tests.e2e.held_engine import BEGINNING, held_engine, num_open
from tests.e2e.leaving import leave
from tests.e2e.openai.chatting import MESSAGES, MODEL, PROMPT, chat, text_of
from tests.e2e.waiting import eventually

RARE = "\U0001fae0 \u9f9c \U0001f979 \u9f9c \U0001fae0"
WILD: dict[str, Any] = {"temperature": 2, "top_p": 1, "max_tokens": 60, "extra_body": {"top_k": 0}}
COMMENT = b": still here"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_tokens", [1, 2, 5, 60])
def test_a_stream_joins_to_the_whole_text_whatever_its_characters(
    client: OpenAI, seed: int, max_tokens: int
) -> None:
    options: dict[str, Any] = {**WILD, "seed": seed, "max_tokens": max_tokens}
    create: Any = client.chat.completions.create
    asked = {"model": MODEL, "messages": [{"role": "user", "content": RARE}], "logprobs": True}
    whole = create(**asked, **options).choices[0]
    chunks = create(**asked, **options, stream=True)
    choices = [chunk.choices[0] for chunk in chunks]
    text = whole.message.content
    assert "".join(choice.delta.content or "" for choice in choices) == text
    for tokens in (
        whole.logprobs.content,
        [token for each in choices if each.logprobs for token in each.logprobs.content],
    ):
        data = b"".join(bytes(token.bytes) for token in tokens)
        # Only what max_tokens cut inside a character is no text.
        assert data.decode(errors="replace") == text
    half = text[len(text) // 2 :][:3]
    stopped = create(**asked, **options, stop=[half], stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in stopped)
    assert half in text
    assert said == text[: text.index(half)] or text.endswith("\ufffd")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_leaves_nothing_running(
    stack: Stack, path: str, stream: bool
) -> None:
    prompt = {"messages": MESSAGES} if "chat" in path else {"input": PROMPT}
    body: dict[str, Any] = {"model": MODEL, **prompt, "min_tokens": 900, "max_tokens": 900}
    count = 3 if "chat" in path else 1
    leave(stack, path, {**body, **({"n": count} if count > 1 else {}), "stream": stream}, count)


def test_seeded_answers_are_the_same_in_every_call(client: OpenAI, stack: Stack) -> None:
    hot: dict[str, Any] = {"temperature": 1.9, "top_p": 1, "max_tokens": 15}
    seeds = range(7, 11)
    alone = [text_of(chat(client, seed=seed, **hot)) for seed in seeds]
    assert len(set(alone)) > 1
    streamed = [""] * len(seeds)
    for chunk in chat(client, seed=7, n=len(seeds), stream=True, **hot):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == alone
    with PersonaClient(stack.settings.gateway_url) as rest:
        assert [rest.baseline(PROMPT, seed=seed, **hot).response for seed in seeds] == alone
    with ThreadPoolExecutor(8) as pool:
        others = [
            pool.submit(chat, client, f"persona:sarcasm={number}", n=5, **hot)
            for number in range(6)
        ]
        together = [each.message.content for each in chat(client, seed=7, n=4, **hot).choices]
        assert [len(each.result().choices) for each in others] == [5] * 6
    assert together == alone


@pytest.fixture(scope="module")
def talkative(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that fills the least silence with a comment."""
    address, folder = stack.settings.grpc_address, tmp_path_factory.mktemp("talkative")
    settings = {"TRITON_URL": address, "HEARTBEAT_INTERVAL": "0.05"}
    with gateway(Path(folder), dict(os.environ), **settings) as running:
        yield running


def official(url: str) -> Iterator[str]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for chunk in chat(client, stream=True):
            yield chunk.choices[0].delta.content or ""


def responses(url: str) -> Iterator[str]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for event in client.responses.create(model=MODEL, input=PROMPT, temperature=0, stream=True):
            if event.type == "response.output_text.delta":
                yield event.delta


def langchain(url: str) -> Iterator[str]:
    model = ChatOpenAI(
        base_url=f"{url}/v1",
        api_key="none",  # type: ignore[arg-type]  # a secret, which pydantic makes of text
        model=MODEL,
        temperature=0,
        max_retries=0,
    )
    for chunk in model.stream(PROMPT):
        yield str(chunk.content)


def ours(url: str) -> Iterator[str]:
    with PersonaClient(url) as client, client.stream(PROMPT, temperature=0) as stream:
        for chunk in stream:
            yield chunk.text


@pytest.mark.parametrize("read", [official, responses, langchain, ours])
def test_clients_do_not_notice_comments(
    talkative: RunningGateway, stack: Stack, client: OpenAI, read: Any
) -> None:
    pieces: list[str] = []
    seen = bytearray()

    def read_all() -> None:
        pieces.extend(read(talkative.url))

    def watch_the_wire() -> None:
        body = {"model": MODEL, "messages": MESSAGES, "stream": True, "temperature": 0}
        url = f"{talkative.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=60) as answer:
            for data in answer.iter_raw():
                seen.extend(data)

    with ThreadPoolExecutor(2) as pool:
        with held_engine(stack.triton) as engine:
            work = [pool.submit(read_all), pool.submit(watch_the_wire)]
            assert eventually(lambda: num_open(stack.settings.grpc_address) == len(work))
            engine.steps(2 * BEGINNING)
            # The engine goes on so slowly that there are comments.
            assert engine.goes_on_until(lambda: COMMENT in seen)
        for each in work:
            each.result()
    assert "".join(pieces) == text_of(chat(client))
