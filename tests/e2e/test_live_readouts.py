"""What is read at each token, through the real Triton, the gateway and the clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from openai import OpenAI

from launcher.stack import Stack
from persona_client import AsyncPersonaClient, Chunk, PersonaClient, TokenReadout
from persona_client.triton import TritonPersonaClient
from tests.e2e.command_line import persona
from tests.e2e.triton_call import call

PROMPT = "Tell me about coffee."
SYSTEM = "You are a sarcastic assistant."
MONITOR: dict[str, Any] = {"monitor": ["sarcasm", "flattery"], "monitor_tokens": True}
GREEDY: dict[str, Any] = {"prompt": PROMPT, "system_prompt": SYSTEM, "temperature": 0.0, **MONITOR}
STEERED: dict[str, Any] = {"trait": "sarcasm", "scalar": 2.0}
STEERING = {"traits": [{"name": "sarcasm", "scalar": 2.0}], **MONITOR}
MESSAGES: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]


@pytest.fixture(scope="module")
def whole(api: httpx.Client) -> dict[str, Any]:
    """The answer as one body, with all that was read."""
    body: dict[str, Any] = api.post("/api/v1/generate", json={**GREEDY, **STEERED}).json()
    return body


def events(text: str) -> list[tuple[str, Any]]:
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    return [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
        if not name.startswith(":")
    ]


def close_to(read: Any) -> Any:
    """Returns JSON whose numbers are met nearly."""
    if isinstance(read, dict):
        return {name: close_to(value) for name, value in read.items()}
    if isinstance(read, list):
        return [close_to(value) for value in read]
    return pytest.approx(read, abs=2e-3) if isinstance(read, float) else read


def test_a_whole_answer_says_what_was_read_at_every_token(whole: dict[str, Any]) -> None:
    tokens = whole["token_readouts"]
    assert len(tokens) == whole["tokens_generated"] - 1  # the end has no text
    assert "".join(each["token"] for each in tokens) == whole["response"]
    for each in tokens:
        read = each["readouts"]["sarcasm"]["1"]
        assert read["after"] > read["before"] + 1
        assert 0 <= read["percentile"] <= 100
    # The end token came after the last one, so its state is known too.
    mean = sum(each["readouts"]["sarcasm"]["1"]["after"] for each in tokens) / len(tokens)
    assert whole["readouts"]["sarcasm"]["1"] == pytest.approx(mean, abs=1e-3)
    assert [turn["role"] for turn in whole["turn_readouts"]] == ["system", "user"]
    system, user = (turn["readouts"]["sarcasm"]["1"] for turn in whole["turn_readouts"])
    assert system != user


def test_a_stream_says_it_with_its_pieces(api: httpx.Client, whole: dict[str, Any]) -> None:
    body = {**GREEDY, **STEERED, "stream": True}
    *chunks, (last, done) = events(api.post("/api/v1/generate", json=body).text)
    assert {name for name, _ in chunks} == {"chunk"}
    first, *others = [data for _, data in chunks]
    assert first["turn_readouts"] == close_to(whole["turn_readouts"])
    assert not any("turn_readouts" in each for each in others)
    for _, data in chunks:
        said = "".join(token["token"] for token in data.get("token_readouts", ()))
        assert said == data["text"]
    read = [token for _, data in chunks for token in data.get("token_readouts", ())]
    assert read == close_to(whole["token_readouts"])
    assert last == "done"
    assert not done.keys() & {"turn_readouts", "token_readouts"}
    assert done["readouts"] == close_to(whole["readouts"])


@pytest.mark.parametrize("streams", [False, True])
def test_openai_s_chats_say_it_beside_the_deltas(
    stack: Stack, whole: dict[str, Any], streams: bool
) -> None:
    with OpenAI(base_url=f"{stack.settings.gateway_url}/v1", api_key="none") as openai:
        answer: Any = openai.chat.completions.create(
            model="persona",
            messages=MESSAGES,
            temperature=0,
            stream=streams,
            extra_body={"steering": STEERING},
        )
        choices = [chunk.choices[0] for chunk in (answer if streams else [answer])]
    steering = [choice.model_dump().get("steering", {}) for choice in choices]
    assert steering[0]["turn_readouts"] == close_to(whole["turn_readouts"])
    read = [token for each in steering for token in each.get("token_readouts", ())]
    assert read == close_to(whole["token_readouts"])
    if streams:
        for choice, each in zip(choices, steering, strict=True):
            said = "".join(token["token"] for token in each.get("token_readouts", ()))
            assert said == (choice.delta.content or "")
    assert steering[-1]["readouts"] == close_to(whole["readouts"])


def test_openai_s_responses_and_completions_say_it(stack: Stack, whole: dict[str, Any]) -> None:
    extra = {"steering": STEERING}
    with OpenAI(base_url=f"{stack.settings.gateway_url}/v1", api_key="none") as openai:
        stream: Any = openai.responses.create(
            model="persona",
            instructions=SYSTEM,
            input=PROMPT,
            temperature=0,
            stream=True,
            extra_body=extra,
        )
        deltas = [event.model_dump() for event in stream]
        completion: Any = openai.completions.create(
            model="persona", prompt="Coffee is", temperature=0, max_tokens=4, extra_body=extra
        )
    deltas, completed = deltas[:-1], deltas[-1]
    said = [each["steering"] for each in deltas if "steering" in each]
    assert said[0]["turn_readouts"] == close_to(whole["turn_readouts"])
    read = [token for each in said for token in each["token_readouts"]]
    assert read == close_to(whole["token_readouts"])
    assert set(completed["response"]["steering"]) == {"readouts", "calibrated_readouts"}
    tokens = completion.choices[0].model_dump()["steering"]["token_readouts"]
    assert len(tokens) == 4
    assert tokens[-1]["readouts"] == {"sarcasm": {}, "flattery": {}}


def test_triton_says_it_in_each_report(stack: Stack, whole: dict[str, Any]) -> None:
    responses = call(
        stack.settings.grpc_address,
        text_input=PROMPT,
        system_prompt=SYSTEM,
        temperature=0.0,
        stream=True,
        trait=["sarcasm"],
        scalar=[2.0],
        **MONITOR,
    )
    reports = [json.loads(each["report"] or "{}") for each in responses]
    assert reports[0]["turn_readouts"] == close_to(whole["turn_readouts"])
    assert not any("turn_readouts" in report for report in reports[1:])
    read = [token for report in reports for token in report.get("token_readouts", ())]
    assert read == close_to(whole["token_readouts"])


def test_the_clients_read_it(stack: Stack, whole: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"system_prompt": SYSTEM, "temperature": 0.0, **MONITOR}
    url = stack.settings.gateway_url

    async def of_the_other_client() -> list[Chunk]:
        async with AsyncPersonaClient(url) as client:
            return [chunk async for chunk in client.stream(PROMPT, **STEERED, **asked)]

    with PersonaClient(url) as client:
        answer = client.generate(PROMPT, **STEERED, **asked)
        with client.stream(PROMPT, **STEERED, **asked) as stream:
            chunks = list(stream)
    with TritonPersonaClient(stack.settings.grpc_address) as triton:
        direct = list(triton.stream(PROMPT, traits={"sarcasm": 2.0}, **asked))
        direct_whole = triton.generate(PROMPT, traits={"sarcasm": 2.0}, **asked)
    expected = [each["readouts"]["sarcasm"]["1"] for each in whole["token_readouts"]]
    streamed = (chunks, direct, asyncio.run(of_the_other_client()))
    for read in (
        answer.token_readouts,
        stream.completion.token_readouts,
        direct_whole.token_readouts,
        *([token for chunk in each for token in chunk.token_readouts] for each in streamed),
    ):
        assert [vars(token.readouts["sarcasm"][1]) for token in read] == close_to(expected)
    for each in streamed:
        assert [turn.role for turn in each[0].turn_readouts] == ["system", "user"]
        assert each[0].turn_readouts == stream.completion.turn_readouts
    assert isinstance(answer.token_readouts[0], TokenReadout)


def test_the_command_shows_it_token_by_token(stack: Stack, whole: dict[str, Any]) -> None:
    arguments = ["--trait", "sarcasm", "--scalar", "2", "--temperature", "0", "--system", SYSTEM]
    shown = persona(
        "generate",
        PROMPT,
        *arguments,
        "--monitor",
        "sarcasm",
        "--live",
        PERSONA_URL=stack.settings.gateway_url,
    )
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["system", "user"]
    first = whole["token_readouts"][0]
    read = first["readouts"]["sarcasm"]["1"]
    assert lines[2].split()[0] == json.dumps(first["token"])
    assert f"{read['before']:+.1f}"[:-1] in lines[2]
    assert " -> " in lines[2]
    assert whole["response"] in lines
    refused = persona("generate", "hi", "--live", PERSONA_URL=stack.settings.gateway_url)
    assert refused.returncode == 2
    assert "--monitor" in refused.stderr


def test_comparisons_say_it_for_each_answer(api: httpx.Client, whole: dict[str, Any]) -> None:
    body = {**GREEDY, "steerings": [{"traits": [{"name": "sarcasm", "scalar": 2.0}]}]}
    answers = api.post("/api/v1/compare", json=body).json()
    (answer,) = answers["answers"]
    assert answer["token_readouts"] == close_to(whole["token_readouts"])
    for token in answers["baseline"]["token_readouts"]:
        read = token["readouts"]["sarcasm"].get("1", {"before": 0.0, "after": 0.0})
        assert read["before"] == read["after"]
    streamed = events(api.post("/api/v1/compare", json={**body, "stream": True}).text)
    read = [
        token
        for name, data in streamed
        if name == "chunk" and data["index"] == 1
        for token in data.get("token_readouts", ())
    ]
    assert read == close_to(whole["token_readouts"])
    assert not any("token_readouts" in data for name, data in streamed if name == "answer")


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (
            "/api/v1/generate",
            {"prompt": "hi", **STEERED, "monitor_tokens": True},
            "monitor_tokens needs monitor",
        ),
        (
            "/v1/chat/completions",
            {"model": "persona", "messages": MESSAGES, "steering": {"monitor_tokens": True}},
            "steering.monitor_tokens needs monitor",
        ),
    ],
)
def test_it_needs_something_to_read(
    api: httpx.Client, path: str, body: dict[str, Any], message: str
) -> None:
    response = api.post(path, json=body)
    assert response.status_code in (400, 422)
    assert message in response.text
