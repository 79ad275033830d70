"""Biases of single tokens, through every way in."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI

from launcher.stack import Stack
from persona_client.triton import TritonPersonaClient
from tests.e2e.openai.chatting import MESSAGES, MODEL, PROMPT, SARCASM, baseline, chat, text_of
from tests.e2e.triton_call import call

STEERED = "persona:sarcasm=2"


@pytest.fixture(scope="module")
def token(api: httpx.Client) -> int:
    ids: list[int] = api.post("/tokenize", json={"prompt": "x"}).json()["tokens"]
    return ids[0]


def test_100_forces_a_token_on_each_route_under_steering(client: OpenAI, token: int) -> None:
    bias = {str(token): 100}
    chats = chat(client, extra_body={"steering": SARCASM}, logit_bias=bias, max_tokens=4)
    assert text_of(chats) == "xxxx"
    texts = client.completions.create(
        model=STEERED, prompt="Hi", logit_bias=bias, max_tokens=4, temperature=1.5
    )
    assert texts.choices[0].text == "xxxx"
    response = client.responses.create(
        model=STEERED, input="Hi", max_output_tokens=4, extra_body={"logit_bias": bias}
    )
    assert response.output_text == "xxxx"


def test_so_does_it_over_rest_and_on_triton(api: httpx.Client, stack: Stack, token: int) -> None:
    bias: dict[str, float] = {str(token): 100}
    assert baseline(api, logit_bias=bias, max_tokens=4)["response"] == "xxxx"
    address = stack.settings.grpc_address
    with TritonPersonaClient(address) as triton:
        answer = triton.generate(PROMPT, traits={"sarcasm": 2.0}, logit_bias=bias, max_tokens=4)
    assert answer.response == "xxxx"
    for inputs in ({"logit_bias": f'{{"{token}": 100}}'}, {"sampling_parameters": nested(token)}):
        responses = call(address, text_input=PROMPT, max_tokens=4, **inputs)
        assert "".join(each.get("text_output", "") for each in responses) == "xxxx"


def nested(token: int) -> str:
    return f'{{"logit_bias": {{"{token}": 100}}}}'


def test_minus_100_bans_a_token_and_logprobs_are_those_without_biases(client: OpenAI) -> None:
    plain = chat(client, max_tokens=1, logprobs=True, top_logprobs=1).choices[0]
    (said,) = plain.logprobs.content
    (likeliest,) = said.top_logprobs
    (ids,) = [each for each in tokens_of(client, said.token) if each]
    banned = chat(
        client, max_tokens=1, logprobs=True, top_logprobs=1, logit_bias={str(ids): -100}
    ).choices[0]
    assert banned.message.content != plain.message.content
    (other,) = banned.logprobs.content
    assert other.top_logprobs[0] == likeliest
    assert other.logprob < said.logprob


def tokens_of(client: OpenAI, text: str) -> list[int]:
    root = str(client.base_url).removesuffix("/v1/")
    tokens: list[int] = httpx.post(f"{root}/tokenize", json={"prompt": text}).json()["tokens"]
    return tokens


@pytest.mark.parametrize(
    ("bias", "says"),
    [
        ({"999999": 1}, "logit_bias has the token 999999: token ids must be from 0 to"),
        ({"the": 1}, "logit_bias has 'the': name tokens by their ids"),
        ({"1": 101}, "logit_bias has 101.0 for the token 1: give a number from -100 to 100"),
        (dict.fromkeys(map(str, range(301)), 1), "logit_bias has 301 tokens: the maximum is 300"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_a_400_that_names_it(
    client: OpenAI, bias: dict[str, Any], says: str, stream: bool
) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, logit_bias=bias, stream=stream
        )
    error = caught.value
    assert error.param == "logit_bias"
    assert str(error.body["message"]).startswith(says)  # type: ignore[index]
