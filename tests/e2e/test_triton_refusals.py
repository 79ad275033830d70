"""Requests that Triton or the models refuse, stop requests, and clients that go away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from launcher.stack import Stack
from tests.e2e.held_engine import BEGINNING, held_engine, num_cancelled, num_open
from tests.e2e.triton_call import Call, call, describe, error_of
from tests.e2e.triton_inputs import GREEDY, LONG
from tests.e2e.waiting import eventually


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
        ({"text_input": "word " * 3000}, "invalid_argument", "shorten the prompt by at least"),
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


def test_what_json_can_say_but_text_cannot_is_the_client_s_error(address: str) -> None:
    chat = '[{"role": "user", "content": "\\ud800"}]'
    assert "half of a surrogate pair, which is not text" in error_of(address, messages=chat)


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
