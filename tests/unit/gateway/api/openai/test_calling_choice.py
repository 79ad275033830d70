"""Answers that call functions, in OpenAI's shapes: whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.api.openai.calling_choice import CallingChoice
from triton_models.grpc_messages import TritonChunk

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
TIME = '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>'
LIKELY = {"token": "x", "bytes": [120], "logprob": -0.5, "top_logprobs": []}


def choice(logprobs: bool = False) -> CallingChoice:
    return CallingChoice(("weather", "time"), 2, logprobs)


def chunks(answer: str, reason: str = "stop", size: int = 7) -> list[TritonChunk]:
    texts = [answer[start : start + size] for start in range(0, len(answer), size)] or [""]
    return [*map(TritonChunk, texts[:-1]), TritonChunk(texts[-1], finish_reason=reason)]


def streamed(answer: Sequence[TritonChunk]) -> list[dict[str, Any]]:
    one = choice()
    return [piece for chunk in answer for piece in one.pieces(chunk)]


def test_a_whole_answer_has_its_calls_beside_its_text() -> None:
    answer = TritonChunk(f"Let me see.\n{CALL}\n{TIME}", finish_reason="stop")
    whole = choice().whole(answer)
    message = whole["message"]
    assert (whole["index"], whole["finish_reason"]) == (2, "tool_calls")
    assert (message["role"], message["content"]) == ("assistant", "Let me see.")
    first, second = message["tool_calls"]
    assert first["function"] == {"name": "weather", "arguments": '{"city": "Rome"}'}
    assert second["function"] == {"name": "time", "arguments": "{}"}
    assert first["type"] == second["type"] == "function"
    assert first["id"] != second["id"]
    assert first["id"].startswith("call_")


def test_an_answer_of_calls_alone_has_no_content() -> None:
    message = choice().whole(TritonChunk(CALL, finish_reason="stop"))["message"]
    assert message["content"] is None


@pytest.mark.parametrize("text", ["", "Hello", "<tool_call> no"])
def test_an_answer_without_calls_is_as_any_other(text: str) -> None:
    whole = choice().whole(TritonChunk(text, finish_reason="stop"))
    assert whole["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert whole["finish_reason"] == "stop"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_names_the_role_then_text_then_each_call_s_name_then_its_arguments(
    size: int,
) -> None:
    pieces = streamed(chunks(f"See:\n{CALL}\n{TIME}", size=size))
    deltas = [piece["delta"] for piece in pieces]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content") or "" for delta in deltas) == "See:"
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 0, 1, 1]
    assert [call["function"].get("name") for call in calls] == ["weather", None, "time", None]
    assert [call["function"]["arguments"] for call in calls] == ["", '{"city": "Rome"}', "", "{}"]
    assert ["id" in call for call in calls] == [True, False, True, False]
    assert [piece["finish_reason"] for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("reason", ["stop", "length"])
@pytest.mark.parametrize("answer", ["", "Hello", "Hi <tool_", CALL[:-20], "<tool_call> no"])
def test_no_text_that_was_held_back_is_lost_at_the_end(answer: str, reason: str) -> None:
    pieces = streamed(chunks(answer, reason, size=3))
    assert "".join(piece["delta"].get("content") or "" for piece in pieces) == answer
    assert pieces[-1]["finish_reason"] == reason


def test_an_answer_that_is_cut_after_a_call_says_so() -> None:
    pieces = streamed(chunks(f"{CALL}\n{TIME[:20]}", "length"))
    assert pieces[-1]["finish_reason"] == "length"
    assert any("tool_calls" in piece["delta"] for piece in pieces)


def test_every_token_s_logprob_is_told_once_and_what_steering_says_last() -> None:
    one = choice(logprobs=True)
    answer = [TritonChunk(text, logprobs=(LIKELY,)) for text in (CALL[:20], CALL[20:40], CALL[40:])]
    answer.append(TritonChunk(finish_reason="stop", readouts={"sarcasm": {"1": 0.5}}))
    pieces = [piece for chunk in answer for piece in one.pieces(chunk)]
    assert sum(len(piece["logprobs"]["content"]) for piece in pieces) == 3
    assert ["steering" in piece for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert json.dumps(pieces)
