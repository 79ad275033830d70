"""A stream's choices begin in their order, as OpenAI's own client wants them to."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from gateway.api.openai.completion import (
    CHAT,
    TEXT,
    CompletionAnswer,
    CompletionKind,
    calling_chat,
)
from tests.unit.gateway.scripted_generation import HELLO, LO, make


async def first_pieces(kind: CompletionKind) -> list[dict[str, Any]]:
    """Returns the choices of the chunks up to the first piece of a second answer, sent alone."""
    silent, engine = make()
    speaking, _ = make(HELLO, LO)
    completion = partial(CompletionAnswer, kind, "persona", [silent, speaking], per_prompt=2)
    stream = completion(logprobs=False, include_usage=False, log_fields={}).events()
    events = [await anext(stream) for _ in range(2)]
    await stream.aclose()
    await engine.sender.settle()
    return [json.loads(event.removeprefix(b"data: "))["choices"][0] for event in events]


@pytest.mark.parametrize("kind", [CHAT, calling_chat(("f",))])
async def test_a_choice_that_has_nothing_to_say_yet_begins_before_a_later_one(
    kind: CompletionKind,
) -> None:
    first, second = await first_pieces(kind)
    assert (first["index"], second["index"]) == (0, 1)
    assert first["delta"]["role"] == second["delta"]["role"] == "assistant"
    assert not first["delta"]["content"]
    assert first["finish_reason"] is None


async def test_so_does_a_continuation() -> None:
    first, second = await first_pieces(TEXT)
    assert (first["index"], first["text"]) == (0, "")
    assert (second["index"], second["text"]) == (1, "Hello")
