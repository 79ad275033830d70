"""Completions, as the official client sees them."""

from __future__ import annotations

from typing import Any

import httpx
from openai import OpenAI

from tests.e2e.openai.chatting import MODEL, PROMPT, baseline


def test_a_completion_continues_the_prompt_as_it_is(client: OpenAI, api: httpx.Client) -> None:
    expected = baseline(api, raw=True, max_tokens=12)
    options: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 12}
    answer = client.completions.create(prompt=PROMPT, logprobs=1, **options)
    (choice,) = answer.choices
    assert (answer.object, choice.text) == ("text_completion", expected["response"])
    assert choice.finish_reason == expected["finish_reason"]
    likely = choice.logprobs
    assert likely is not None
    assert likely.tokens
    assert likely.text_offset
    assert likely.token_logprobs
    assert likely.top_logprobs
    for token, offset, logprob, top in zip(
        likely.tokens,
        likely.text_offset,
        likely.token_logprobs,
        likely.top_logprobs,
        strict=True,
    ):
        assert choice.text[offset:].startswith(token) or token.startswith(("<|", "bytes:"))
        assert top[token] == logprob
    echoed = client.completions.create(prompt=PROMPT, echo=True, **options)
    assert echoed.choices[0].text == PROMPT + choice.text
    stream = client.completions.create(prompt=PROMPT, echo=True, stream=True, **options)
    assert "".join(chunk.choices[0].text for chunk in stream) == PROMPT + choice.text


def test_several_prompts_are_answered_in_their_order(client: OpenAI) -> None:
    prompts = [PROMPT, "Tell me about tea."]
    options: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 8}
    together = client.completions.create(prompt=prompts, n=2, **options)
    alone = [client.completions.create(prompt=prompt, **options) for prompt in prompts]
    assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
    texts = [answer.choices[0].text for answer in alone for _ in range(2)]
    assert [choice.text for choice in together.choices] == texts
    assert together.usage
    assert together.usage.prompt_tokens == sum(
        answer.usage.prompt_tokens for answer in alone if answer.usage
    )
