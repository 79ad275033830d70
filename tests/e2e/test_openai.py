"""OpenAI's API, as the official client and LangChain see it, over the real Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

from launcher.stack import Stack
from tests.e2e.demo import TRAITS
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.waiting import eventually

PROMPT = "How do I bake bread?"
MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": PROMPT}]
MODEL = "persona-demo"
SARCASM = {"traits": [{"name": "sarcasm", "scalar": 2.0}]}


@pytest.fixture(scope="module")
def rest(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.settings.gateway_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[OpenAI]:
    url = f"{stack.settings.gateway_url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def chat(client: OpenAI, model: str = MODEL, **options: Any) -> Any:
    options = {"temperature": 0, **options}
    return client.chat.completions.create(model=model, messages=MESSAGES, **options)


def text_of(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def baseline(rest: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "temperature": 0, **fields}
    answer: dict[str, Any] = rest.post("/api/v1/generate/baseline", json=body).json()
    return answer


def steered(rest: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"prompt": PROMPT, "temperature": 0, "trait": "sarcasm", "scalar": 2.0, **fields}
    answer: dict[str, Any] = rest.post("/api/v1/generate", json=body).json()
    return answer


def test_a_chat_says_what_the_rest_api_says(client: OpenAI, rest: httpx.Client) -> None:
    plain, turned = baseline(rest), steered(rest)
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
def test_a_seed_draws_the_same_as_over_rest(client: OpenAI, rest: httpx.Client, seed: int) -> None:
    sampling: dict[str, Any] = {"temperature": 1.5, "top_p": 0.95, "seed": seed, "max_tokens": 20}
    assert (
        text_of(chat(client, "persona:sarcasm=2", **sampling))
        == (steered(rest, **sampling)["response"])
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


async def test_the_asynchronous_client_works_too(stack: Stack, rest: httpx.Client) -> None:
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
    assert answer.choices[0].message.content == "".join(pieces) == steered(rest)["response"]
    assert MODEL in names


def test_a_chat_s_logprobs_are_those_of_the_rest_api(client: OpenAI, rest: httpx.Client) -> None:
    expected = baseline(rest, logprobs=2)["logprobs"]
    answer = chat(client, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert [each.token for each in content] == [each["token"] for each in expected]
    assert [each.logprob for each in content] == pytest.approx(
        [each["logprob"] for each in expected], abs=1e-3
    )
    assert b"".join(bytes(each.bytes) for each in content).decode() == text_of(answer)
    assert {len(each.top_logprobs) for each in content} == {2}
    assert chat(client).choices[0].logprobs is None


def test_a_completion_continues_the_prompt_as_it_is(client: OpenAI, rest: httpx.Client) -> None:
    expected = baseline(rest, raw=True, max_tokens=12)
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


def test_vllm_s_sampling_fields_are_taken(client: OpenAI, rest: httpx.Client) -> None:
    fields: dict[str, Any] = {"top_k": 3, "min_p": 0.01, "repetition_penalty": 1.3, "min_tokens": 5}
    sampling: dict[str, Any] = {"temperature": 1.5, "seed": 5, "max_tokens": 20}
    answer = chat(
        client, presence_penalty=0.5, frequency_penalty=0.5, extra_body=fields, **sampling
    )
    expected = baseline(rest, presence_penalty=0.5, frequency_penalty=0.5, **fields, **sampling)
    assert text_of(answer) == expected["response"]


def test_readouts_and_warnings_reach_the_client(client: OpenAI, rest: httpx.Client) -> None:
    steering = {**SARCASM, "monitor": ["sarcasm"]}
    expected = steered(rest, monitor=["sarcasm"])
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


@pytest.mark.parametrize(
    ("options", "kind", "param", "says"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model", "'persona-demo'"),
        ({"model": "persona:rudeness=1"}, openai.NotFoundError, "model", "sarcasm"),
        ({"tools": [{}]}, openai.BadRequestError, "tools", "no tools"),
        ({"temperature": 9}, openai.BadRequestError, "temperature", "from 0 to 2"),
        ({"max_tokens": 100_000}, openai.BadRequestError, None, "max_tokens"),
        ({"extra_body": {"stering": SARCASM}}, openai.BadRequestError, "stering", "steering"),
        (
            {"extra_body": {"steering": {"traits": [{"name": "rudeness", "scalar": 1}]}}},
            openai.BadRequestError,
            None,
            "the traits are",
        ),
        (
            {"extra_body": {"steering": {**SARCASM, "layers": [99]}}},
            openai.BadRequestError,
            None,
            "no layers [99]",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals_are_the_client_s_own_errors(
    client: OpenAI,
    options: dict[str, Any],
    kind: type[openai.APIStatusError],
    param: str | None,
    says: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        chat(client, stream=stream, **options)
    assert says in caught.value.message
    assert caught.value.param == param
    assert caught.value.request_id


def test_raw_responses_have_the_headers_and_the_error(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response
    answer = raw.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    assert answer.headers["x-request-id"]
    assert answer.parse().choices[0].finish_reason == "length"
    with pytest.raises(openai.NotFoundError) as caught:
        raw.create(model="gpt-4o", messages=MESSAGES)
    assert caught.value.response.json()["error"]["code"] == "model_not_found"


def test_the_last_turn_has_to_be_the_user_s(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="end with a user message") as caught:
        client.chat.completions.create(
            model=MODEL, messages=[*MESSAGES, {"role": "assistant", "content": "Well"}]
        )
    assert caught.value.param == "messages"


def test_a_stream_on_the_wire_is_data_lines_and_done(rest: httpx.Client) -> None:
    body = {"model": MODEL, "messages": MESSAGES, "stream": True, "max_tokens": 3}
    response = rest.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


def test_a_client_that_goes_away_stops_all_its_answers(client: OpenAI, stack: Stack) -> None:
    address = stack.settings.grpc_address
    before = num_cancelled(address)

    def begin() -> Any:
        stream = chat(client, n=3, stream=True, max_tokens=900, extra_body={"min_tokens": 900})
        next(iter(stream))
        return stream

    with ThreadPoolExecutor(1) as pool, held_engine(stack.triton) as engine:
        begun = pool.submit(begin)
        assert eventually(lambda: num_open(address) == 3)
        engine.steps(2 * BEGINNING)
        begun.result().close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 3)


def langchain(stack: Stack, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{stack.settings.gateway_url}/v1",
        api_key="none",  # type: ignore[arg-type]  # a secret, which pydantic makes of text
        temperature=0,
        max_retries=0,
        **options,
    )


def test_langchain_chats_steered_by_the_body_or_by_the_model_s_name(
    stack: Stack, rest: httpx.Client
) -> None:
    expected = steered(rest)
    by_name = langchain(stack, model="persona:sarcasm=2").invoke(PROMPT)
    assert by_name.content == expected["response"]
    assert by_name.usage_metadata
    assert by_name.usage_metadata["output_tokens"] == expected["tokens_generated"]
    assert by_name.response_metadata["finish_reason"] == "stop"
    by_body = langchain(stack, model=MODEL, extra_body={"steering": SARCASM})
    assert by_body.invoke([("system", ""), ("user", PROMPT)]).content
    assert by_body.invoke(PROMPT).content == expected["response"]


async def test_langchain_streams_and_awaits(stack: Stack, rest: httpx.Client) -> None:
    model = langchain(stack, model="persona:sarcasm=2", max_tokens=20)
    expected = steered(rest, max_tokens=20)["response"]
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
