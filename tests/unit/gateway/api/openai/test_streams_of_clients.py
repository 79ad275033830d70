"""What clients rely on in a stream: the end by itself, and the usage as far as it is asked for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from gateway.api.openai.completion import CHAT, TEXT, CompletionAnswer, CompletionKind
from tests.unit.gateway.generation.test_generation import likely
from tests.unit.gateway.scripted_generation import HELLO, LO, make


async def chunks_of(kind: CompletionKind, *responses: Any, **options: Any) -> list[Any]:
    answer = CompletionAnswer(
        kind,
        "persona",
        [make(*responses)[0]],
        per_prompt=1,
        **{"logprobs": False, "include_usage": False, "log_fields": {}, **options},
    )
    *chunks, done = [event.decode().removeprefix("data: ") async for event in answer.events()]
    assert done == "[DONE]\n\n"
    return [json.loads(chunk) for chunk in chunks]


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize(("kind", "text"), [(CHAT, {}), (TEXT, {"text": ""})])
async def test_the_reason_comes_after_the_last_words(
    kind: CompletionKind, text: dict[str, str], reason: str
) -> None:
    last = dataclasses.replace(LO, finish_reason=reason, logprobs=(likely("lo"),))
    *before, end = [chunk["choices"][0] for chunk in await chunks_of(kind, last, logprobs=True)]
    assert [choice["finish_reason"] for choice in before] == [None]
    assert "lo" in json.dumps(before)
    assert end["finish_reason"] == reason
    assert (end.get("delta", {}), end.get("text", "")) == ({}, "")
    assert end["logprobs"] is None
    assert text == {name: end[name] for name in text}


async def test_every_chunk_says_how_many_tokens_there_were_so_far_if_asked() -> None:
    usage = {"include_usage": True, "continuous_usage": True}
    chunks = await chunks_of(CHAT, HELLO, LO, **usage)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 2
    assert all(chunk["usage"]["prompt_tokens"] == 4 for chunk in chunks)
    assert [len(chunk["choices"]) for chunk in chunks[-2:]] == [1, 0]
    quiet = await chunks_of(CHAT, HELLO, LO, include_usage=False, continuous_usage=True)
    assert all("usage" not in chunk for chunk in quiet)
