"""Answers that follow a format, by every way that a client has to ask for one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from openai import OpenAI
from tritonclient.utils import InferenceServerException

from launcher.stack import Stack
from persona_client import InvalidRequestError, PersonaClient, PersonaError
from persona_client.triton import TritonPersonaClient
from tests.e2e.command_line import persona
from tests.e2e.triton_call import Call

PROMPT = "How do I boil an egg?"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "maxLength": 40},
        "minutes": {"type": "integer", "minimum": 1, "maximum": 20},
        "tags": {"type": "array", "items": {"enum": ["egg", "water"]}, "maxItems": 3},
    },
    "required": ["answer", "minutes", "tags"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
UNSUPPORTED = {"type": "json_schema", "schema": {"type": "array", "uniqueItems": True}}
SAYS_WHY = "format.schema: 'uniqueItems' is not supported"
MAX_TOKENS = 400
"""Enough for the longest answer that the schema allows, each character of it escaped."""

SARCASM: dict[str, Any] = {"trait": "sarcasm", "scalar": 3.0}

BOUND: dict[str, Any] = {"format": FORMAT, "max_tokens": MAX_TOKENS}


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    return stack.settings.gateway_url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def generate(url: str, **body: Any) -> httpx.Response:
    body = {"prompt": PROMPT, "max_tokens": MAX_TOKENS, **body}
    return httpx.post(f"{url}/api/v1/generate", json=body, timeout=60)


def test_each_kind_of_format_is_followed_under_steering(url: str) -> None:
    patterns = {
        "[a-f]{3}-[0-9]+x": {"type": "regex", "pattern": "[a-f]{3}-[0-9]{1,9}x"},
        "soft|hard": {"type": "choice", "choices": ["soft", "hard"]},
        "(egg )+water": {"type": "grammar", "grammar": 'start: "egg "{1,3} "water"'},
    }
    for pattern, format in patterns.items():
        answer = generate(url, **SARCASM, format=format).json()
        assert re.fullmatch(pattern, answer["response"])
        assert answer["finish_reason"] == "stop"
    for format in (FORMAT, {"type": "json_object"}):
        answer = generate(url, **SARCASM, format=format).json()
        if answer["finish_reason"] == "stop":
            assert isinstance(json.loads(answer["response"]), dict)
    assert generate(url, **SARCASM, format={"type": "text"}).json()["response"]


def test_answers_with_and_without_formats_come_from_one_batch(url: str) -> None:
    def ask(index: int) -> dict[str, Any]:
        format = {"format": FORMAT} if index % 2 else {}
        scalar = float(index - 6)
        body = {"trait": "sarcasm", "scalar": scalar, "seed": index, "temperature": 1.0}
        answer: dict[str, Any] = generate(url, **body, **format).json()
        return answer

    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(ask, range(12)))
    for index, answer in enumerate(answers):
        if index % 2:
            assert answer["finish_reason"] == "stop"
            jsonschema.validate(json.loads(answer["response"]), SCHEMA)
        else:
            assert not answer["response"].startswith("{")


def test_a_streamed_answer_is_the_whole_one(url: str) -> None:
    with PersonaClient(url) as client:
        whole = client.generate(PROMPT, **SARCASM, temperature=0.0, **BOUND)
        jsonschema.validate(json.loads(whole.response), SCHEMA)
        with client.stream(PROMPT, **SARCASM, temperature=0.0, **BOUND) as stream:
            assert "".join(chunk.text for chunk in stream) == whole.response
        assert stream.completion.finish_reason == "stop"


def test_compared_answers_share_a_format(url: str) -> None:
    body = {
        "prompt": PROMPT,
        "trait": "sarcasm",
        "scalars": [-2.0, 0.0, 2.0],
        "temperature": 0.0,
        **BOUND,
    }
    answers = httpx.post(f"{url}/api/v1/sweep", json=body, timeout=60).json()["answers"]
    assert len(answers) == 3
    for answer in answers:
        jsonschema.validate(json.loads(answer["response"]), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
def test_a_format_that_cannot_be_followed_is_the_client_s_error(url: str, stream: bool) -> None:
    refused = generate(url, **SARCASM, format=UNSUPPORTED, stream=stream)
    assert refused.status_code == 400
    assert refused.json()["error"] == SAYS_WHY


def test_a_malformed_format_is_refused_before_it_reaches_the_model(url: str) -> None:
    refused = generate(url, **SARCASM, format={"type": "regex"})
    assert refused.status_code == 422
    assert "has no pattern" in refused.json()["error"]


def test_triton_is_told_the_same(stack: Stack) -> None:
    address = stack.settings.grpc_address
    client = TritonPersonaClient(address)
    answer = client.generate(PROMPT, traits={"sarcasm": 3.0}, **BOUND)
    jsonschema.validate(json.loads(answer.response), SCHEMA)
    with pytest.raises(InvalidRequestError, match="'uniqueItems' is not supported"):
        client.generate(PROMPT, format=UNSUPPORTED)
    call = Call(address, "persona", {"text_input": PROMPT, "format": '{"type": "xml"}'})
    with pytest.raises(InferenceServerException, match=r"format\.type is 'xml'"):
        list(call.responses())


SAID_BY_A_SCHEMA: list[dict[str, Any]] = [
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "egg", "schema": SCHEMA, "strict": strict},
        }
    }
    for strict in (True, False)
]
SAID_BY_A_SCHEMA += [
    {"extra_body": {"guided_json": SCHEMA}},
    {"extra_body": {"guided_json": json.dumps(SCHEMA)}},
    {"extra_body": {"structured_outputs": {"json": SCHEMA}}},
]


@pytest.mark.parametrize("said", SAID_BY_A_SCHEMA)
def test_a_chat_follows_a_schema(api: OpenAI, said: dict[str, Any]) -> None:
    answers = api.chat.completions.create(
        model="persona:sarcasm=2",
        messages=[{"role": "user", "content": PROMPT}],
        n=2,
        max_tokens=MAX_TOKENS,
        **said,
    )
    for choice in answers.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content or ""), SCHEMA)


@pytest.mark.parametrize(
    "said",
    [
        {"guided_regex": "a+b"},
        {"guided_choice": ["aab", "ab"]},
        {"guided_grammar": 'start: "a"+ "b"'},
        {"structured_outputs": {"regex": "a+b"}},
        {"structured_outputs": {"choice": ["aab", "ab"]}},
        {"structured_outputs": {"grammar": 'start: "a"+ "b"'}},
    ],
)
def test_a_completion_follows_a_pattern(api: OpenAI, said: dict[str, Any]) -> None:
    answer = api.completions.create(model="persona", prompt="a", max_tokens=90, extra_body=said)
    (choice,) = answer.choices
    assert re.fullmatch("a+b?" if choice.finish_reason == "length" else "a+b", choice.text)


def test_two_formats_at_once_are_refused_by_name(api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.completions.create(
            model="persona",
            prompt="a",
            extra_body={"guided_regex": "a", "response_format": {"type": "json_object"}},
        )
    assert "response_format and guided_regex" in refused.value.message


def test_the_command_line_reads_a_schema_from_a_file(url: str, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA))
    answered = persona(
        "generate", PROMPT, "--json-schema", str(file), "--max-tokens", "400", PERSONA_URL=url
    )
    jsonschema.validate(json.loads(answered.stdout.partition("\n")[0]), SCHEMA)
    answered = persona("generate", PROMPT, "--choice", "soft", "--choice", "hard", PERSONA_URL=url)
    assert answered.stdout.split()[0] in ("soft", "hard")
    refused = persona("generate", PROMPT, "--choice", "soft", "--regex", "x", PERSONA_URL=url)
    assert refused.returncode == 2
    assert "an answer has one form" in refused.stderr


def test_a_client_that_leaves_takes_its_format_along(url: str) -> None:
    with PersonaClient(url) as client:
        with client.stream(PROMPT, format={"type": "regex", "pattern": "[a-z]{999}"}) as stream:
            next(iter(stream))
        try:
            client.generate(PROMPT, **SARCASM, format={"type": "choice", "choices": ["next"]})
        except PersonaError as error:
            pytest.fail(str(error))
