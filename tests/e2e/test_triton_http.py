"""Triton's own HTTP: generate, generate_stream, and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from launcher.stack import Stack
from tests.e2e.held_engine import pieces_of
from tests.e2e.triton_call import call
from tests.e2e.triton_inputs import GREEDY


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    settings = stack.settings
    return f"http://{settings.triton_host}:{settings.triton_http_port}/v2/models/persona"


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
