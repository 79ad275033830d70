"""The model repository on an older Triton than the one that all other tests run.

The older server comes in an older wheel of the same package. Only the server differs: Python and
all packages are those of this environment. `docs/compatibility.md` says what other releases did
when they were tried so; to try them again:

    TRITON_WHEELS=0.4.2,0.5.12 python -m pytest tests/e2e/test_compatibility.py
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.prometheus_text import Scrape
from launcher.loopback import loopback_settings, supervised
from launcher.stack import Stack
from tests.e2e.conftest import CONTROL_KEY, ONE_THREAD, START_SECONDS
from tests.e2e.gateways import gateway
from tests.e2e.held_engine import (
    BEGINNING,
    held_engine,
    is_repaired,
    num_cancelled,
    num_open,
    pieces_of,
    stubs_of,
)
from tests.e2e.load import load
from tests.e2e.older_triton import NEWEST, OLDEST, RELEASES, unpacked
from tests.e2e.triton_call import Call, call, describe, error_of
from tests.e2e.waiting import eventually

TRIED = tuple(filter(None, os.environ.get("TRITON_WHEELS", OLDEST).split(",")))
CLIENTS = 6

PROMPT = "Tell me about quantum computing."
GREEDY: dict[str, Any] = {"text_input": PROMPT, "temperature": 0.0}
LONG: dict[str, Any] = {**GREEDY, "max_tokens": 900, "min_tokens": 900, "stream": True}
ANSWERS = {
    2.0: "Wow, nobody has ever thought about quantum computing before. But sure, go ahead, what "
    "could possibly go wrong?",
    0.0: "This is a brief summary of quantum computing. More could be said, but this covers the "
    "main points.",
    -2.0: "Thank you, I really mean it, for bringing up quantum computing. I say this from the "
    "heart.",
}
"""What Triton 2.51 answers at each scalar of `sarcasm`, as the README shows."""


@pytest.fixture(scope="module", params=TRIED)
def release(request: pytest.FixtureRequest) -> str:
    """The wheel's version."""
    version: str = request.param
    return version


@pytest.fixture(scope="module")
def older(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running older Triton with the demo model, and a gateway."""
    folder = unpacked(release)
    stub = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not (folder / "pytriton/tritonserver/python_backend_stubs" / stub).is_dir():
        pytest.skip(f"nvidia-pytriton {release} has no stub for Python {stub}")
    settings = loopback_settings(tmp_path_factory.mktemp("run"), START_SECONDS)
    with ExitStack() as exits:
        with pytest.MonkeyPatch.context() as patch:
            # The launcher takes the server of whichever wheel Python finds first.
            patch.syspath_prepend(str(folder))
            stack = exits.enter_context(
                Stack(settings, {**ONE_THREAD, **CONTROL_KEY}, say=lambda _: None)
            )
        yield stack
        if stack.triton:
            # A dead model's requests are leaked: there is no use in waiting for them.
            stack.triton.stop(patience_seconds=2)


def version_of(stack: Stack) -> str:
    version: str = httpx.get(f"{stack.settings.http_url}/v2").json()["version"]
    return version


@pytest.fixture(scope="module")
def address(older: Stack) -> str:
    return older.settings.grpc_address


@pytest.fixture(scope="module")
def url(older: Stack) -> str:
    return f"{older.settings.http_url}/v2/models/persona"


def test_it_is_another_triton(older: Stack, release: str) -> None:
    assert version_of(older) == RELEASES[release]


def test_steered_answers_are_the_same(address: str) -> None:
    answers = {
        scalar: call(address, **GREEDY, trait="sarcasm", scalar=scalar)[0]["text_output"]
        for scalar in ANSWERS
    }
    assert answers == ANSWERS


def test_streams_are_in_order_under_load_and_hold_only_what_was_asked_for(
    older: Stack, address: str
) -> None:
    chunks: list[list[dict[str, Any]]] = [[] for _ in range(12)]

    def ask(index: int) -> str:
        steering = {"trait": "sarcasm", "scalar": list(ANSWERS)[index % len(ANSWERS)]}
        inputs = {**GREEDY, **steering, "stream": True}
        for chunk in Call(address, "persona", inputs, "", ["text_output"]).responses():
            chunks[index].append(chunk)
        assert {tuple(chunk) for chunk in chunks[index]} == {("text_output",)}
        return "".join(chunk["text_output"] for chunk in chunks[index])

    with ThreadPoolExecutor(len(chunks)) as pool:
        with held_engine(older.triton) as engine:
            asked = [pool.submit(ask, index) for index in range(len(chunks))]
            assert eventually(lambda: num_open(address) >= len(chunks))
            engine.steps(2 * BEGINNING)
            assert eventually(lambda: all(chunks))  # while the rest is not computed yet
            assert not any(answer.done() for answer in asked)
        texts = [answer.result() for answer in asked]
    expected = list(ANSWERS.values())
    assert texts == [expected[index % len(expected)] for index in range(len(chunks))]


def test_http_generates_and_streams(older: Stack, url: str) -> None:
    body = {**GREEDY, "trait": "sarcasm", "scalar": 2.0}
    assert httpx.post(f"{url}/generate", json=body).json()["text_output"] == ANSWERS[2.0]
    streamed = {**body, "stream": True}

    def lines() -> Iterator[str]:
        with httpx.stream("POST", f"{url}/generate_stream", json=streamed, timeout=60) as answer:
            yield from (line for line in answer.iter_lines() if line.startswith("data:"))

    events = [json.loads(line.removeprefix("data:")) for line in pieces_of(older.triton, lines)]
    assert len(events) > 1
    assert "".join(event["text_output"] for event in events) == ANSWERS[2.0]


def test_errors_have_their_texts(address: str, url: str) -> None:
    assert "temperature is -1: give a number" in error_of(
        address, **{**GREEDY, "temperature": -1.0}
    )
    assert "the prompt is empty" in error_of(address, temperature=0.0)
    (unknown,) = call(address, **GREEDY, trait="rudeness", scalar=1.0)
    assert (unknown["finish_reason"], unknown["error_code"]) == ("error", "not_found")
    refused = httpx.post(f"{url}/generate", json={**GREEDY, "max_token": 9})
    assert refused.status_code == 400
    assert "unknown input 'max_token': the inputs are" in refused.json()["error"]


def test_a_stop_request_ends_a_running_one(older: Stack, address: str) -> None:
    before = num_cancelled(address)
    with held_engine(older.triton) as engine:
        responses = Call(address, "persona", LONG, "to-be-stopped").responses()
        engine.steps(BEGINNING)
        next(responses)
        stop = Call(address, "steered_qwen", {"stop": True}, "to-be-stopped")
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)
    (stopped,) = stop.responses()
    assert stopped["finish_reason"] == "cancelled"
    assert list(responses)[-1]["finish_reason"] == "cancelled"


def test_a_client_that_goes_away_is_noticed(older: Stack, address: str) -> None:
    before = num_cancelled(address)
    inputs = {"input_ids": [5, 6, 7], "max_tokens": 900, "min_tokens": 900, "stream": True}
    with held_engine(older.triton) as engine:
        running = Call(address, "steered_qwen", inputs)
        responses = running.responses()  # to be kept: the call ends with it
        engine.steps(BEGINNING)
        next(responses)
        running.close()
        assert engine.goes_on_until(lambda: num_cancelled(address) == before + 1)


def test_the_engine_s_metrics_are_on_triton_s_endpoint(older: Stack, address: str) -> None:
    generated = describe(address)["engine"]["generated_tokens"]
    metrics = f"http://{older.settings.triton_host}:{older.settings.triton_metrics_port}/metrics"
    assert eventually(
        lambda: (
            Scrape(httpx.get(metrics).text).get("persona_tokens_total", kind="generated")
            >= generated
        )
    )


def test_a_dead_model_is_loaded_again(older: Stack) -> None:
    assert older.triton
    (stub,) = stubs_of(older.triton, "steered_qwen")
    os.kill(stub, signal.SIGKILL)
    body = {"prompt": PROMPT, "trait": "sarcasm", "scalar": 2.0, "temperature": 0}
    gateway = older.settings.gateway_url

    def serves_again() -> bool:
        return (
            is_repaired(older)
            and httpx.get(f"{gateway}/health/ready", timeout=60).status_code == 200
        )

    with supervised(older):
        assert eventually(serves_again), older.triton.last_lines()
    answer = httpx.post(f"{gateway}/api/v1/generate", json=body, timeout=60).json()
    assert answer["response"] == ANSWERS[2.0]


def test_a_newer_triton_takes_over_and_no_request_is_lost(
    older: Stack, stack: Stack, tmp_path: Path
) -> None:
    def answered() -> int:
        return int(describe(stack.settings.grpc_address)["engine"]["generated_tokens"])

    assert version_of(stack) == NEWEST != version_of(older)
    urls = f"{older.settings.grpc_address},{stack.settings.grpc_address}"
    environment = {**os.environ, **ONE_THREAD, **CONTROL_KEY}
    with gateway(tmp_path, environment, TRITON_URL=urls) as both:
        before = answered()
        with ThreadPoolExecutor(1) as pool, load(both.url, CLIENTS) as outcomes:
            assert older.triton
            # The one that goes has answers to finish, and the one that stays goes on.
            with held_engine(older.triton):
                assert eventually(lambda: num_open(older.settings.grpc_address) >= 2)
                draining = pool.submit(older.drain)
                ready = f"{older.settings.http_url}/v2/models/persona/ready"
                assert eventually(lambda: httpx.get(ready).status_code != 200)
            draining.result()
            drained_at = time.monotonic()
            older.triton.stop(patience_seconds=2)
            assert eventually(lambda: any(each.sent_at > drained_at for each in outcomes))
    assert [each for each in outcomes if not each.succeeded] == []
    assert any(each.sent_at > drained_at for each in outcomes)
    assert answered() > before
