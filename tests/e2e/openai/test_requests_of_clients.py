"""What clients of OpenAI's API send and rely on, as seen in the field, on the wire."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.e2e.openai.chatting import MESSAGES, MODEL, chat, text_of

BODY: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "max_tokens": 5}
ROUTER_WORDS = "This model's maximum context length is"


@pytest.mark.parametrize("words", [6_000, 35_000])
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_what_routers_look_for(
    client: OpenAI, words: int, stream: bool
) -> None:
    long = "word " * words
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": long}], stream=stream
        )
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert ROUTER_WORDS in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=MODEL, prompt=long)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")


def test_an_answer_beyond_the_context_is_what_routers_look_for(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, max_tokens=100_000)
    assert caught.value.code == "context_length_exceeded"
    assert ROUTER_WORDS in caught.value.message


@pytest.mark.parametrize("stop", [None, "bread", "e"])
@pytest.mark.parametrize("max_tokens", [4, 200])
def test_the_reason_of_a_stream_s_end_comes_after_its_last_words(
    client: OpenAI, stop: str | None, max_tokens: int
) -> None:
    options: dict[str, Any] = {"max_tokens": max_tokens, "stop": stop}
    expected = text_of(chat(client, **options))
    *choices, last = [chunk.choices[0] for chunk in chat(client, stream=True, **options)]
    assert "".join(choice.delta.content or "" for choice in choices) == expected
    assert {choice.finish_reason for choice in choices} == {None}
    assert last.finish_reason in ("stop", "length")
    assert last.delta.content is None


def test_load_generators_have_their_fields(client: OpenAI) -> None:
    # As GuideLLM, AIPerf and vLLM's own benchmark send them.
    stream = chat(
        client,
        stream=True,
        max_tokens=120,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
        extra_body={"ignore_eos": True, "min_tokens": 120, "use_beam_search": False},
    )
    chunks = list(stream)
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 120
    assert chunks[-2].choices[0].finish_reason == "length"


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"seed": -1}, {"seed": -(2**63)}])
def test_the_ends_of_openai_s_ranges_are_taken(client: OpenAI, options: dict[str, Any]) -> None:
    best = text_of(chat(client, max_tokens=8))
    answers = [
        text_of(chat(client, max_tokens=8, **{"temperature": 2, "top_p": 0, **options}))
        for _ in range(2)
    ]
    assert answers == [best, best]


def test_a_negative_seed_makes_the_same_answer_each_time(client: OpenAI) -> None:
    hot: dict[str, Any] = {"temperature": 1.9, "top_p": 1, "max_tokens": 15}
    texts = {seed: [text_of(chat(client, seed=seed, **hot)) for _ in range(2)] for seed in (-1, -2)}
    assert all(first == second for first, second in texts.values())
    assert texts[-1] != texts[-2]
    together = chat(client, seed=-2, n=2, **hot)
    assert [choice.message.content for choice in together.choices] == [texts[-2][0], texts[-1][0]]


def test_a_compressed_body_and_a_slash_too_many_are_served(api: httpx.Client) -> None:
    expected = api.post("/v1/chat/completions", json=BODY).json()["choices"]
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    content = gzip.compress(json.dumps(BODY).encode())
    answer = api.post("/v1/chat/completions/", content=content, headers=headers)
    assert answer.json()["choices"] == expected
    plain, slashed = (api.get(path).json()["data"] for path in ("/v1/models", "/v1/models/"))
    assert [model["id"] for model in slashed] == [model["id"] for model in plain]


@pytest.mark.parametrize("path", ["/", "/health", "/health/ready", "/status", "/v1/models"])
def test_monitors_that_probe_with_head_see_a_healthy_service(api: httpx.Client, path: str) -> None:
    response = api.head(path)
    assert (response.status_code, response.content) == (200, b"")


def test_null_asks_for_nothing_whatever_its_name(client: OpenAI) -> None:
    nothing: dict[str, Any] = {"provider_options": None, "reasoning": None, "guided_json": None}
    assert text_of(chat(client, extra_body=nothing)) == text_of(chat(client))


def test_our_own_answer_can_be_sent_back(client: OpenAI) -> None:
    first = chat(client).choices[0].message
    messages: list[Any] = [*MESSAGES, first.model_dump(), {"role": "user", "content": "And then?"}]
    again = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=5)
    assert again.choices[0].message.content
