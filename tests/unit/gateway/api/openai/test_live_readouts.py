"""What was read at tokens is beside their text in OpenAI's streams, each token once."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.openai.completion import CHAT, TEXT, CompletionKind, calling_chat
from tests.unit.gateway.api.openai.test_completion import completion
from tests.unit.gateway.api.openai.test_completion import events as events_of
from tests.unit.gateway.api.openai.test_responses import CALL, TOOL, answer
from tests.unit.gateway.api.openai.test_responses import events as response_events
from tests.unit.gateway.scripted_generation import make
from triton_models.grpc_messages import TritonChunk

SUMMARY = {"sarcasm": {"1": 2.0}}


def pieces(*texts: str) -> list[TritonChunk]:
    """Returns the turns, then pieces of one token each, the last with the summary."""
    turns = TritonChunk(report={"turn_readouts": [{"role": "user"}]})
    tokens = [TritonChunk(text=text, report={"token_readouts": [text]}) for text in texts]
    end = TritonChunk(
        text="!",
        report={"token_readouts": ["!"]},
        readouts=SUMMARY,
        finish_reason="stop",
        final=True,
    )
    return [turns, *tokens, end]


def said(choice: dict[str, Any]) -> str:
    content = choice.get("text", choice.get("delta", {}).get("content"))
    return content or ""


@pytest.mark.parametrize("kind", [CHAT, TEXT], ids=["chat", "text"])
async def test_it_is_with_the_text_and_the_summary_with_the_reason(kind: CompletionKind) -> None:
    *chunks, done = await events_of(completion(kind, [make(*pieces("a", "b"))[0]]))
    assert done == "[DONE]"
    choices = [chunk["choices"][0] for chunk in chunks]
    read = [choice.get("steering", {}) for choice in choices]
    assert read[0].get("turn_readouts") == [{"role": "user"}]
    tokens = [token for each in read for token in each.get("token_readouts", ())]
    assert tokens == ["a", "b", "!"]
    for choice, each in zip(choices, read, strict=True):
        assert "".join(each.get("token_readouts", ())) == said(choice)
    assert read[-1] == {"readouts": SUMMARY}
    assert choices[-1]["finish_reason"] == "stop"


async def test_tokens_of_a_call_keep_it_too() -> None:
    parts = [CALL[:20], CALL[20:]]
    generation = make(*pieces(*parts))[0]
    *chunks, _ = await events_of(completion(calling_chat(("weather",)), [generation]))
    read = [chunk["choices"][0].get("steering", {}) for chunk in chunks]
    tokens = [token for each in read for token in each.get("token_readouts", ())]
    assert tokens == [*parts, "!"]


@pytest.mark.parametrize("texts", [("a", "b"), (CALL[:20], CALL[20:])], ids=["text", "call"])
async def test_events_of_a_response_have_it_and_its_end_only_the_summary(
    texts: tuple[str, ...],
) -> None:
    *found, completed = await response_events(answer(*pieces(*texts), tools=[TOOL]))
    read = [event["steering"] for event in found if "steering" in event]
    assert read[0]["turn_readouts"] == [{"role": "user"}]
    tokens = [token for each in read for token in each.get("token_readouts", ())]
    assert tokens == [*texts, "!"]
    assert completed["response"]["steering"] == {"readouts": SUMMARY}


async def test_a_whole_response_has_all_of_it() -> None:
    response = await answer(*pieces("a")).complete()
    assert response["steering"] == {
        "turn_readouts": [{"role": "user"}],
        "token_readouts": ["a", "!"],
        "readouts": SUMMARY,
    }
