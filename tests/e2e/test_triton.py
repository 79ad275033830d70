"""What a Triton client can rely on, over gRPC and HTTP, from the real server."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer, Qwen2ForCausalLM

from launcher.stack import Stack
from tests.e2e.demo import TRAITS, deltas_of
from tests.e2e.held_engine import (
    BEGINNING,
    held_engine,
    num_cancelled,
    num_open,
    num_taken,
    pieces_of,
)
from tests.e2e.triton_call import Call, call, describe, error_of
from tests.e2e.waiting import eventually
from tests.integration.reference import agree, generate_alone
from triton_models.settings import DEMO_MODEL_FOLDER
from triton_models.vectors.persona_vector import PersonaVector

PROMPT = "How do I bake bread?"
GREEDY: dict[str, Any] = {"text_input": PROMPT, "temperature": 0.0}
LONG: dict[str, Any] = {**GREEDY, "max_tokens": 900, "min_tokens": 900}
ONCE: dict[str, Any] = {}
STREAMED: dict[str, Any] = {"stream": True}
STREAMED_GREEDY: dict[str, Any] = {**GREEDY, **STREAMED}


@pytest.fixture(scope="module")
def address(stack: Stack) -> str:
    return stack.settings.grpc_address


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    settings = stack.settings
    return f"http://{settings.triton_host}:{settings.triton_http_port}/v2/models/persona"


def test_a_request_gets_one_response_with_text_and_counts(address: str) -> None:
    (response,) = call(address, **GREEDY)
    assert response["text_output"]
    assert response["finish_reason"] in ("stop", "length")
    assert response["num_input_tokens"] > 5
    assert 0 < response["num_output_tokens"] <= 200
    assert (response["error"], response["error_code"]) == ("", "")


def test_a_stream_s_chunks_join_to_the_text_of_one_response(stack: Stack, address: str) -> None:
    (whole,) = call(address, **GREEDY)
    chunks = pieces_of(stack.triton, lambda: Call(address, "persona", STREAMED_GREEDY).responses())
    assert len(chunks) > 1
    assert "".join(chunk["text_output"] for chunk in chunks) == whole["text_output"]
    assert [chunk["finish_reason"] for chunk in chunks[:-1]] == [""] * (len(chunks) - 1)
    assert chunks[-1]["finish_reason"] == whole["finish_reason"]


def test_steering_turns_the_text_and_scalar_zero_leaves_it(address: str) -> None:
    texts = {
        scalar: call(address, **GREEDY, trait="sarcasm", scalar=scalar)[0]["text_output"]
        for scalar in (-2.0, 0.0, 2.0)
    }
    assert len(set(texts.values())) == 3
    assert texts[0.0] == call(address, **GREEDY)[0]["text_output"]


def test_requests_of_a_mixed_batch_give_the_tokens_they_give_alone(
    stack: Stack, address: str, vectors: dict[str, PersonaVector], plain_model: Qwen2ForCausalLM
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_MODEL_FOLDER)
    generator = random.Random(5)
    ends = plain_model.generation_config.eos_token_id  # several: the last token may be any of them

    def case() -> dict[str, Any]:
        traits = generator.sample(TRAITS, generator.choice([0, 1, 1, 2]))
        text = " ".join(generator.choices(["tea", "why", "is", "a", "garden", "how"], k=9))
        return {
            "ids": tokenizer(text)["input_ids"],
            "traits": {trait: generator.choice([-1.5, -0.5, 0.5, 1.0]) for trait in traits},
            "positions": generator.choice(["all", "prompt", "response"]),
        }

    def through_triton(case: dict[str, Any]) -> list[int]:
        steering = (
            {"trait": list(case["traits"]), "scalar": list(case["traits"].values())}
            if case["traits"]
            else {}
        )
        responses = call(
            address,
            "steered_qwen",
            input_ids=case["ids"],
            max_tokens=40,
            temperature=0.0,
            stream=True,
            positions=case["positions"],
            **steering,
        )
        return [token for response in responses for token in response["output_ids"]]

    def is_as_alone(case: dict[str, Any], answer: list[int]) -> bool:
        ids, positions = case["ids"], case["positions"]
        deltas = deltas_of(vectors, case["traits"])
        tokens = generate_alone(plain_model, ids, 40, deltas, positions)
        tokens = tokens[:-1] if tokens[-1] in ends else tokens
        return agree(plain_model, ids, tokens, answer, deltas, positions)

    cases = [case() for _ in range(24)]
    before = num_taken(address)
    with ThreadPoolExecutor(len(cases)) as pool:
        with held_engine(stack.triton) as engine:
            answers = []
            for number, each in enumerate(cases, 1):
                answers.append(pool.submit(through_triton, each))
                assert eventually(lambda number=number: num_taken(address) == before + number)  # type: ignore[misc]
                # Each joins while those before it are at different places of their answers.
                engine.steps(generator.randrange(3))
        tokens = [answer.result() for answer in answers]
    for each, answer in zip(cases, tokens, strict=True):
        assert is_as_alone(each, answer), each


def test_the_same_seed_gives_the_same_text_whatever_else_runs(stack: Stack, address: str) -> None:
    sampled: dict[str, Any] = {"text_input": PROMPT, "temperature": 1.0, "seed": 2**63 + 5}
    (alone,) = call(address, **sampled)
    with ThreadPoolExecutor(8) as pool:
        with held_engine(stack.triton):
            others = [pool.submit(call, address, text_input=PROMPT) for _ in range(7)]
            among_them = pool.submit(call, address, **sampled)
            assert eventually(lambda: num_open(address) == 8)
        (together,) = among_them.result()
        for other in others:
            other.result()
    assert together["text_output"] == alone["text_output"]
    assert call(address, **{**sampled, "seed": 6})[0]["text_output"] != alone["text_output"]


def test_stop_words_end_the_text_and_are_not_in_it(address: str) -> None:
    (whole,) = call(address, **GREEDY)
    text = whole["text_output"]
    word = text[len(text) // 2 : len(text) // 2 + 4]
    for options in (ONCE, STREAMED):
        chunks = call(address, **GREEDY, stop_words=[word, "never there"], **options)
        answer = "".join(chunk["text_output"] for chunk in chunks)
        assert answer == text[: text.index(word)]
        assert chunks[-1]["finish_reason"] == "stop"


def test_min_tokens_holds_back_the_end_and_max_tokens_cuts(address: str) -> None:
    (response,) = call(address, **GREEDY, max_tokens=150, min_tokens=150)
    assert (response["num_output_tokens"], response["finish_reason"]) == (150, "length")


def test_raw_text_messages_and_system_prompts_are_honoured(address: str) -> None:
    chat = json.dumps([{"role": "user", "content": PROMPT}])
    (plain,) = call(address, **GREEDY)
    (messages,) = call(address, text_input="", messages=chat, temperature=0.0)
    (without_text,) = call(address, messages=chat, temperature=0.0)
    assert without_text["text_output"] == messages["text_output"]
    assert without_text["num_input_tokens"] == messages["num_input_tokens"]
    (system,) = call(address, **GREEDY, system_prompt="You are a very sarcastic assistant.")
    (raw,) = call(address, **GREEDY, raw=True)
    assert messages["text_output"] == plain["text_output"]
    assert system["num_input_tokens"] != plain["num_input_tokens"]
    assert raw["num_input_tokens"] < plain["num_input_tokens"]


def test_the_prompt_can_be_part_of_the_text(address: str) -> None:
    (plain,) = call(address, **GREEDY)
    for options in (ONCE, STREAMED):
        chunks = call(address, **GREEDY, exclude_input_in_output=False, **options)
        text = "".join(chunk["text_output"] for chunk in chunks)
        assert PROMPT in text
        assert text.endswith("<|im_start|>assistant\n" + plain["text_output"])


def test_only_the_outputs_asked_for_are_sent_also_under_load(address: str) -> None:
    def ask(_: int) -> list[dict[str, Any]]:
        request = Call(
            address, "persona", {**GREEDY, "max_tokens": 20, "stream": True}, "", ["text_output"]
        )
        return list(request.responses())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    assert {tuple(response) for answer in answers for response in answer} == {("text_output",)}
    assert len({"".join(r["text_output"] for r in answer) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"text_input": ""}, "the prompt is empty"),
        ({"messages": "[{", "text_input": ""}, "messages is not valid JSON"),
        ({"trait": ["sarcasm"], "scalar": [1.0, 2.0]}, "give one scalar for each trait"),
        ({"trait": "sarcasm", "scalar": float("nan")}, "it must be a finite number"),
        ({"temperature": -1.0}, "temperature is -1: give a number from 0 to 2"),
        ({"sampling_parameters": '{"best_of": 3}'}, "sampling_parameters has 'best_of'"),
        ({"text_input": b"\xff"}, "text_input is not valid UTF-8"),
        ({"text_input": None}, "the prompt is empty: text_input must hold text"),
        ({"text_input": ["a", "b"]}, "unexpected shape"),
    ],
)
def test_a_request_that_cannot_be_right_is_refused_by_triton(
    address: str, inputs: dict[str, Any], message: str
) -> None:
    given = {**GREEDY, **inputs}
    assert message in error_of(address, **{k: v for k, v in given.items() if v is not None})


@pytest.mark.parametrize(
    ("inputs", "code", "message"),
    [
        ({"trait": "rudeness", "scalar": 1.0}, "not_found", "the traits are flattery, halluc"),
        ({"trait": "sarcasm", "scalar": 1.0, "layers": [99]}, "invalid_argument", "layers [99]"),
        ({"text_input": "word " * 3000}, "invalid_argument", "shorten it by at least"),
        ({"max_tokens": 100_000}, "invalid_argument", "set max_tokens to at most"),
        ({"trait": "sarcasm", "scalar": 1e38}, "invalid_argument", "use a smaller one"),
    ],
)
def test_a_request_that_does_not_fit_the_model_is_answered_with_its_error(
    address: str, inputs: dict[str, Any], code: str, message: str
) -> None:
    (response,) = call(address, **{**GREEDY, **inputs})
    assert (response["finish_reason"], response["error_code"]) == ("error", code)
    assert message in response["error"]
    assert response["text_output"] == ""


def test_a_stop_request_ends_the_running_one_of_its_id(stack: Stack, address: str) -> None:
    before = num_cancelled(address)
    with held_engine(stack.triton) as engine:
        running = Call(address, "persona", {**LONG, "stream": True}, "to-be-stopped")
        engine.steps(BEGINNING)
        responses = running.responses()
        next(responses)
        stop = Call(address, "steered_qwen", {"stop": True}, "to-be-stopped")
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
    (stopped,) = stop.responses()
    rest = list(responses)
    assert stopped["finish_reason"] == "cancelled"
    assert rest[-1]["finish_reason"] == "cancelled"
    assert rest[-1]["num_output_tokens"] < 900


def test_a_stop_request_for_nothing_says_so(address: str) -> None:
    (answer,) = Call(address, "steered_qwen", {"stop": True}, "no-such-request").responses()
    assert (answer["finish_reason"], answer["error_code"]) == ("error", "not_found")
    (answer,) = Call(address, "steered_qwen", {"stop": True}).responses()
    assert "stop needs a request id" in answer["error"]


def test_a_client_of_the_language_model_that_goes_away_is_noticed(
    stack: Stack, address: str
) -> None:
    before = num_cancelled(address)
    inputs = {"input_ids": [5, 6, 7], "max_tokens": 900, "min_tokens": 900, "stream": True}
    with held_engine(stack.triton) as engine:
        running = Call(address, "steered_qwen", inputs)
        engine.steps(BEGINNING)
        next(running.responses())
        running.close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
    assert eventually(lambda: num_open(address) == 0)


def test_a_description_names_the_model_and_its_traits(address: str) -> None:
    description = describe(address)
    assert description["model"] == "persona-demo"
    assert tuple(description["traits"]) == TRAITS
    assert description["problems"] == []
    assert description["engine"]["alive"]


def test_http_generate_answers_once(url: str, address: str) -> None:
    answer = httpx.post(f"{url}/generate", json={**GREEDY, "trait": ["sarcasm"], "scalar": [2.0]})
    assert answer.status_code == 200
    (expected,) = call(address, **GREEDY, trait="sarcasm", scalar=2.0)
    assert answer.json()["text_output"] == expected["text_output"]


def test_http_generate_stream_sends_events(stack: Stack, url: str, address: str) -> None:
    body = {**GREEDY, "stream": True}

    def lines() -> Iterator[str]:
        with httpx.stream("POST", f"{url}/generate_stream", json=body, timeout=60) as answer:
            yield from (line for line in answer.iter_lines() if line.startswith("data:"))

    events = [json.loads(line.removeprefix("data:")) for line in pieces_of(stack.triton, lines)]
    (expected,) = call(address, **GREEDY)
    assert "".join(event["text_output"] for event in events) == expected["text_output"]
    assert len(events) > 1


def test_http_errors_carry_the_message(url: str) -> None:
    answer = httpx.post(f"{url}/generate", json={**GREEDY, "temperature": 9.0})
    assert answer.status_code == 400
    assert "temperature is 9" in answer.json()["error"]
    misspelled = httpx.post(f"{url}/generate", json={**GREEDY, "max_token": 9})
    assert misspelled.status_code == 400
    assert "unknown input 'max_token': the inputs are" in misspelled.json()["error"]


def test_what_json_can_say_but_text_cannot_is_the_client_s_error(address: str) -> None:
    chat = '[{"role": "user", "content": "\\ud800"}]'
    assert "content that is not text" in error_of(address, messages=chat)


def test_a_full_server_refuses_at_once_and_hurts_nobody(stack: Stack, address: str) -> None:
    engine = describe(address)["engine"]
    room = engine["max_batch_rows"] + engine["max_waiting"]
    inputs = {**GREEDY, "max_tokens": 60, "min_tokens": 60}

    def ask() -> dict[str, Any]:
        (response,) = call(address, **inputs)
        return response

    with ThreadPoolExecutor(room + 40) as pool:
        with held_engine(stack.triton):
            taken = [pool.submit(ask) for _ in range(room)]
            assert eventually(lambda: num_open(address) == room)
            for refused in [pool.submit(ask) for _ in range(40)]:
                response = refused.result()
                assert response["error_code"] == "resource_exhausted"
                assert "try again later" in response["error"]
            assert num_open(address) == room
        texts = {answer.result()["text_output"] for answer in taken}
    (expected,) = call(address, **inputs)
    assert texts == {expected["text_output"]}
