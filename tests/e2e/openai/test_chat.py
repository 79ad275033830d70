"""Chats, as the official client sees them: the answers of the gateway's own API."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from launcher.stack import Stack
from tests.e2e.demo import TRAITS
from tests.e2e.openai.chatting import MESSAGES, MODEL, SARCASM, baseline, chat, steered, text_of


def test_a_chat_says_what_the_rest_api_says(client: OpenAI, api: httpx.Client) -> None:
    plain, turned = baseline(api), steered(api)
    assert plain["response"] != turned["response"]
    answer = chat(client)
    assert text_of(answer) == plain["response"]
    assert (answer.model, answer.object) == (MODEL, "chat.completion")
    assert answer.choices[0].finish_reason == plain["finish_reason"] == "stop"
    assert answer.usage.prompt_tokens == plain["prompt_tokens"]
    assert answer.usage.completion_tokens == plain["tokens_generated"]
    assert text_of(chat(client, extra_body={"steering": SARCASM})) == turned["response"]
    assert text_of(chat(client, "persona:sarcasm=2")) == turned["response"]
    assert text_of(chat(client, "persona")) == plain["response"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_draws_the_same_as_over_rest(client: OpenAI, api: httpx.Client, seed: int) -> None:
    sampling: dict[str, Any] = {"temperature": 1.5, "top_p": 0.95, "seed": seed, "max_tokens": 20}
    assert (
        text_of(chat(client, "persona:sarcasm=2", **sampling))
        == (steered(api, **sampling)["response"])
    )


def test_n_answers_are_those_of_n_seeds(client: OpenAI) -> None:
    sampling: dict[str, Any] = {"temperature": 1.9, "top_p": 1.0, "max_tokens": 20}
    alone = [text_of(chat(client, seed=seed, **sampling)) for seed in (7, 8, 9)]
    together = chat(client, seed=7, n=3, **sampling)
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert [choice.message.content for choice in together.choices] == alone
    assert len(set(alone)) > 1
    assert together.usage.completion_tokens > 20


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_joins_to_the_whole_answer(client: OpenAI, n: int) -> None:
    sampling: dict[str, Any] = {"temperature": 1.0, "seed": 3, "n": n}
    whole = chat(client, **sampling)
    stream = chat(client, stream=True, stream_options={"include_usage": True}, **sampling)
    *chunks, last = list(stream)
    assert len(chunks) > n
    for choice in whole.choices:
        own = [c.choices[0] for c in chunks if c.choices[0].index == choice.index]
        assert "".join(one.delta.content or "" for one in own) == choice.message.content
        assert own[0].delta.role == "assistant"
        assert [one.finish_reason for one in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1].finish_reason == choice.finish_reason
    assert last.choices == []
    assert last.usage.completion_tokens == whole.usage.completion_tokens


def test_the_client_s_own_accumulation_of_a_stream_works(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES, temperature=0) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == text_of(chat(client))


async def test_the_asynchronous_client_works_too(stack: Stack, api: httpx.Client) -> None:
    url = f"{stack.settings.gateway_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="persona:sarcasm=2", messages=MESSAGES, temperature=0
        )
        stream = await client.chat.completions.create(
            model="persona:sarcasm=2", messages=MESSAGES, temperature=0, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        names = [model.id async for model in client.models.list()]
    assert answer.choices[0].message.content == "".join(pieces) == steered(api)["response"]
    assert MODEL in names


def test_a_chat_s_logprobs_are_those_of_the_rest_api(client: OpenAI, api: httpx.Client) -> None:
    expected = baseline(api, logprobs=2)["logprobs"]
    answer = chat(client, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert [each.token for each in content] == [each["token"] for each in expected]
    assert [each.logprob for each in content] == pytest.approx(
        [each["logprob"] for each in expected], abs=1e-3
    )
    assert b"".join(bytes(each.bytes) for each in content).decode() == text_of(answer)
    assert {len(each.top_logprobs) for each in content} == {2}
    assert chat(client).choices[0].logprobs is None


@pytest.mark.parametrize("as_list", [False, True])
def test_a_stop_string_ends_the_answer_and_is_no_part_of_it(client: OpenAI, as_list: bool) -> None:
    whole = text_of(chat(client))
    stop = whole.split()[3]
    answer = chat(client, stop=[stop] if as_list else stop)
    assert text_of(answer) == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_max_tokens_are_obeyed(client: OpenAI, name: str) -> None:
    answer = chat(client, MODEL, **{name: 3})
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (3, "length")


def test_vllm_s_sampling_fields_are_taken(client: OpenAI, api: httpx.Client) -> None:
    fields: dict[str, Any] = {"top_k": 3, "min_p": 0.01, "repetition_penalty": 1.3, "min_tokens": 5}
    sampling: dict[str, Any] = {"temperature": 1.5, "seed": 5, "max_tokens": 20}
    answer = chat(
        client, presence_penalty=0.5, frequency_penalty=0.5, extra_body=fields, **sampling
    )
    expected = baseline(api, presence_penalty=0.5, frequency_penalty=0.5, **fields, **sampling)
    assert text_of(answer) == expected["response"]


def test_readouts_and_warnings_reach_the_client(client: OpenAI, api: httpx.Client) -> None:
    steering = {**SARCASM, "monitor": ["sarcasm"]}
    expected = steered(api, monitor=["sarcasm"])
    answer = chat(client, extra_body={"steering": steering})
    readouts = answer.choices[0].steering["readouts"]
    assert readouts["sarcasm"] == pytest.approx(expected["readouts"]["sarcasm"], abs=1e-3)
    *_, last = list(chat(client, stream=True, extra_body={"steering": steering}))
    assert last.choices[0].steering["readouts"].keys() == {"sarcasm"}
    assert "steering" not in chat(client).choices[0].model_extra


def test_traits_may_be_several_with_layers_and_positions(client: OpenAI) -> None:
    traits = [{"name": "sarcasm", "scalar": 1.5}, {"name": "flattery", "scalar": -0.5}]
    in_body = chat(client, extra_body={"steering": {"traits": traits}})
    in_name = chat(client, "persona:sarcasm=1.5,flattery=-0.5")
    assert text_of(in_body) == text_of(in_name)
    nothing = chat(client, "persona:sarcasm=2", extra_body={"steering": {"positions": "response"}})
    assert text_of(nothing) != text_of(chat(client, "persona:sarcasm=2"))


def test_models_are_listed_and_each_can_be_retrieved_and_used(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == MODEL
    assert {name.removeprefix("persona:").split("=")[0] for name in names[1:]} == set(TRAITS)
    for name in (*names, "persona", "persona:sarcasm=0.25"):
        assert client.models.retrieve(name).id == name
    assert text_of(chat(client, names[1], max_tokens=5))
