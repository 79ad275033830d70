"""A generation in OpenAI's shapes: whole, streamed, several at once, and when it fails."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.api.openai.completion import CHAT, TEXT, CompletionAnswer, CompletionKind
from gateway.errors import ModelDeadError, OverloadedError
from gateway.generation.generation import Generation
from gateway.http.server_sent_events import ending_in_words
from tests.unit.gateway.generation.test_generation import likely
from tests.unit.gateway.scripted_generation import HELLO, LO, make
from triton_models.grpc_messages import TritonChunk


def completion(
    kind: CompletionKind, generations: Sequence[Generation], *, per_prompt: int = 1, **options: Any
) -> CompletionAnswer:
    log_fields: dict[str, Any] = {}
    return CompletionAnswer(
        kind,
        "persona",
        generations,
        per_prompt=per_prompt,
        **{"logprobs": False, "include_usage": False, "log_fields": log_fields, **options},
    )


async def events(completion: CompletionAnswer) -> list[Any]:
    texts = [event.decode() async for event in completion.events()]
    assert all(text.startswith("data: ") and text.endswith("\n\n") for text in texts)
    data = [text.removeprefix("data: ").strip() for text in texts]
    return [each if each == "[DONE]" else json.loads(each) for each in data]


async def test_a_whole_chat_completion_has_openai_s_fields() -> None:
    generation, _ = make(HELLO, LO)
    log: dict[str, Any] = {}
    body = await completion(CHAT, [generation], log_fields=log).complete()
    assert log == {"completion": body["id"]}
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "chat.completion",
        "model": "persona",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 4,
            "completion_tokens": 2,
            "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
    }


async def test_a_whole_text_completion_has_openai_s_fields() -> None:
    generation, _ = make(HELLO, LO)
    body = await completion(TEXT, [generation]).complete()
    assert (body["id"][:5], body["object"]) == ("cmpl-", "text_completion")
    assert body["choices"] == [
        {"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}
    ]


async def test_a_streamed_chat_names_its_role_once_and_ends_with_done() -> None:
    generation, engine = make(HELLO)
    stream = completion(CHAT, [generation]).events()
    first = json.loads((await anext(stream)).removeprefix(b"data: "))
    engine.stream.responses.put_nowait(LO)
    second = json.loads((await anext(stream)).removeprefix(b"data: "))
    third = json.loads((await anext(stream)).removeprefix(b"data: "))
    assert [event async for event in stream] == [b"data: [DONE]\n\n"]
    assert first["object"] == "chat.completion.chunk"
    assert "usage" not in first
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "Hel"}
    assert first["choices"][0]["finish_reason"] is None
    assert second["choices"][0]["delta"] == {"content": "lo"}
    assert second["choices"][0]["finish_reason"] is None
    assert third["choices"][0]["delta"] == {}
    assert third["choices"][0]["finish_reason"] == "stop"
    assert first["id"] == second["id"] == third["id"]


async def test_an_empty_answer_still_has_a_role_and_a_reason() -> None:
    generation, _ = make(TritonChunk(finish_reason="stop", final=True))
    chunk, last, done = await events(completion(CHAT, [generation]))
    assert chunk["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert done == "[DONE]"


async def test_the_usage_comes_last_without_choices_if_asked_for() -> None:
    generation, _ = make(HELLO, LO)
    *chunks, usage, done = await events(completion(CHAT, [generation], include_usage=True))
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 6)
    assert done == "[DONE]"


async def test_several_answers_share_a_prompt_in_the_usage_and_keep_their_index() -> None:
    generations = [make(HELLO, LO)[0] for _ in range(4)]
    body = await completion(TEXT, generations, per_prompt=2).complete()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (8, 8)
    generations = [make(HELLO, LO)[0] for _ in range(2)]
    *chunks, _ = await events(completion(CHAT, generations, per_prompt=2))
    for index in (0, 1):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Hello"
        assert own[-1]["finish_reason"] == "stop"


async def test_what_steering_has_to_say_stands_in_the_last_choice() -> None:
    said: dict[str, Any] = {"readouts": {"sarcasm": {"1": 0.5}}, "warnings": ("too strong",)}
    shown = {"readouts": {"sarcasm": {"1": 0.5}}, "warnings": ["too strong"]}
    generation, _ = make(HELLO, dataclasses.replace(LO, **said))
    body = await completion(CHAT, [generation]).complete()
    assert body["choices"][0]["steering"] == shown
    generation, _ = make(dataclasses.replace(LO, **said))
    _, chunk, _ = await events(completion(TEXT, [generation]))
    assert chunk["choices"][0]["steering"] == shown


async def test_a_chat_s_logprobs_are_objects_with_bytes() -> None:
    generation, _ = make(dataclasses.replace(LO, logprobs=(likely("lo"),)))
    body = await completion(CHAT, [generation], logprobs=True).complete()
    assert body["choices"][0]["logprobs"] == {"content": [likely("lo")], "refusal": None}


async def test_a_text_s_logprobs_are_lists_side_by_side() -> None:
    smile = "🙂".encode()

    def part(data: bytes) -> dict[str, Any]:
        return {"token": "\ufffd", "bytes": list(data), "logprob": -1.0, "top_logprobs": []}

    other = {"token": "b", "bytes": [98], "logprob": -0.1}
    tokens = ({**likely("a"), "top_logprobs": [other]}, part(smile[:2]), part(smile[2:]))
    generation, _ = make(
        TritonChunk(text="a🙂", num_output_tokens=3, logprobs=tokens),
        TritonChunk(
            text="z", num_output_tokens=4, logprobs=(likely("z"),), finish_reason="stop", final=True
        ),
    )
    body = await completion(TEXT, [generation], logprobs=True).complete()
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["a", "bytes:\\xf0\\x9f", "bytes:\\x99\\x82", "z"],
        "token_logprobs": [-0.5, -1.0, -1.0, -0.5],
        "top_logprobs": [
            {"b": -0.1, "a": -0.5},
            {"bytes:\\xf0\\x9f": -1.0},
            {"bytes:\\x99\\x82": -1.0},
            {"z": -0.5},
        ],
        "text_offset": [0, 1, 1, 2],
    }


async def test_offsets_go_on_from_chunk_to_chunk() -> None:
    generation, engine = make(dataclasses.replace(HELLO, logprobs=(likely("Hel"),)))
    stream = completion(TEXT, [generation], logprobs=True).events()
    await anext(stream)
    engine.stream.responses.put_nowait(dataclasses.replace(LO, logprobs=(likely("lo"),)))
    chunk = json.loads((await anext(stream)).removeprefix(b"data: "))
    assert chunk["choices"][0]["logprobs"]["text_offset"] == [3]
    await stream.aclose()


async def test_one_answer_that_fails_fails_all_and_stops_the_others() -> None:
    silent, engine = make()
    refused, _ = make(OverloadedError("full"))
    with pytest.raises(OverloadedError):
        await completion(CHAT, [silent, refused], per_prompt=2).complete()
    await asyncio.sleep(0)
    await engine.sender.settle()
    assert engine.stops == ["an-id"]


async def test_an_error_before_the_first_chunk_is_left_to_the_status() -> None:
    generation, _ = make(OverloadedError("full"))
    with pytest.raises(OverloadedError):
        await events(completion(CHAT, [generation]))


async def test_an_error_after_a_chunk_is_the_last_event() -> None:
    generation, engine = make(HELLO)
    log: dict[str, Any] = {}
    answer = completion(CHAT, [generation], log_fields=log)
    stream = ending_in_words(answer.events(), answer.error_event)
    await anext(stream)
    engine.stream.responses.put_nowait(ModelDeadError("steered_qwen"))
    rest = [json.loads(event.removeprefix(b"data: ")) async for event in stream]
    assert [set(event) for event in rest] == [{"error"}]
    assert rest[0]["error"]["type"] == "server_error"
    assert rest[0]["error"]["code"] == "unavailable"
    assert log["code"] == "unavailable"


async def test_leaving_a_stream_stops_every_answer() -> None:
    made = [make(HELLO) for _ in range(3)]
    stream = completion(CHAT, [generation for generation, _ in made], per_prompt=3).events()
    await anext(stream)
    await stream.aclose()
    for _, engine in made:
        await engine.sender.settle()
        assert engine.stops == ["an-id"]
