"""The documented REST API, answered by the real gateway over the real Triton."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from launcher.loopback import loopback_settings, supervised
from launcher.processes import SHARED_MEMORY, RunRecord
from launcher.stack import Stack
from tests.e2e.conftest import ONE_THREAD, START_SECONDS
from tests.e2e.held_engine import BEGINNING, held_engine, pieces_of, stubs_of
from tests.e2e.leaving import leave
from tests.e2e.triton_call import call
from tests.e2e.waiting import eventually

PROMPT = "How do I bake bread?"
BASELINE: dict[str, Any] = {"prompt": PROMPT, "temperature": 0.0}
STEERED: dict[str, Any] = {**BASELINE, "trait": "sarcasm", "scalar": 2.0}
LONG: dict[str, Any] = {**STEERED, "max_tokens": 900, "min_tokens": 900}


def events_of(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the server-sent events of a response: their names and their data."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            yield name, json.loads(line.removeprefix("data:"))


def test_generate_answers_with_every_documented_field(api: httpx.Client, stack: Stack) -> None:
    answer = api.post("/api/v1/generate", json=STEERED)
    body = answer.json()
    assert answer.status_code == 200
    assert {"success", "response", "trait", "scalar", "tokens_generated", "error"} <= set(body)
    assert {"finish_reason", "prompt_tokens", "reused_tokens"} <= set(body)
    assert (body["success"], body["error"]) == (True, None)
    assert (body["trait"], body["scalar"]) == ("sarcasm", 2.0)
    (direct,) = call(
        stack.settings.grpc_address, text_input=PROMPT, temperature=0.0, trait="sarcasm", scalar=2.0
    )
    assert body["response"] == direct["text_output"]
    assert body["tokens_generated"] == direct["num_output_tokens"]


def test_baseline_has_no_trait_and_equals_scalar_zero(api: httpx.Client) -> None:
    body = api.post("/api/v1/generate/baseline", json=BASELINE).json()
    assert (body["trait"], body["scalar"], body["success"]) == (None, 0.0, True)
    zero = api.post("/api/v1/generate", json={**STEERED, "scalar": 0.0}).json()
    assert zero["response"] == body["response"]
    assert api.post("/api/v1/generate", json=STEERED).json()["response"] != body["response"]


@pytest.mark.parametrize(
    ("path", "body"), [("/api/v1/generate", STEERED), ("/api/v1/generate/baseline", BASELINE)]
)
def test_a_stream_s_chunks_join_to_the_whole_answer(
    stack: Stack, api: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    whole = api.post(path, json=body).json()

    def stream() -> Iterator[tuple[str, dict[str, Any]]]:
        with api.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            yield from events_of(response)

    events = pieces_of(stack.triton, stream)
    *chunks, (last, done) = events
    assert {name for name, _ in chunks} == {"chunk"}
    assert len(chunks) > 1
    assert "".join(data["text"] for _, data in chunks) == whole["response"]
    assert (last, done) == ("done", {**whole, "reused_tokens": done["reused_tokens"]})


def test_traits_and_status_describe_what_is_served(api: httpx.Client) -> None:
    traits = api.get("/api/v1/traits").json()["traits"]
    assert len(traits) == 7
    for name, trait in traits.items():
        assert trait["trait_name"] == name
        assert trait["layer_count"] == len(trait["layers"])
        assert {"model_name", "metadata"} <= set(trait)
    assert api.get("/api/v1/traits/sarcasm").json() == traits["sarcasm"]
    status = api.get("/status").json()
    assert (status["status"], status["device"]) == ("ready", "cpu")
    assert status["available_traits"] == list(traits)
    assert {"model", "model_info"} <= set(status)
    engine = status["engine"]
    assert engine["fused_kernels"] is False
    assert engine["fused_kernels_reason"] == "the model is on a CPU"


def test_health_docs_and_root_answer(api: httpx.Client) -> None:
    assert api.get("/health").json() == {"status": "healthy"}
    assert api.get("/health/ready").status_code == 200
    assert "swagger" in api.get("/docs").text.lower()
    assert {"name", "version", "description", "endpoints"} <= set(api.get("/").json())


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"trait": "rudeness"}, 400, "flattery, hallucination, helpfulness"),
        ({"layers": [99]}, 400, "no layers [99]"),
        ({"prompt": "word " * 3000}, 400, "shorten the prompt by at least"),
        ({"max_tokens": 100_000}, 400, "set max_tokens to at most"),
        ({"scalar": "much"}, 422, "scalar"),
        ({"prompt": "  "}, 422, "the prompt is empty"),
        ({"prompt": None}, 422, "prompt"),
        ({"trait": None}, 422, "trait"),
        ({"temperature": -1}, 422, "temperature"),
        ({"top_p": 1.5}, 422, "top_p"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"colour": "red"}, 422, "colour"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(
    api: httpx.Client, change: dict[str, Any], status: int, message: str
) -> None:
    for extra in ({}, {"stream": True}):
        answer = api.post("/api/v1/generate", json={**STEERED, **change, **extra})
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert body["success"] is False
        assert message in body["error"]
        assert "detail" in body


@pytest.mark.parametrize("scalar", ["NaN", "Infinity", "1e999"])
def test_a_scalar_that_is_no_number_is_refused(api: httpx.Client, scalar: str) -> None:
    text = f'{{"prompt": "hi", "trait": "sarcasm", "scalar": {scalar}}}'
    answer = api.post(
        "/api/v1/generate", content=text, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert "scalar" in answer.json()["error"]


def test_an_unknown_trait_or_path_is_not_found(api: httpx.Client) -> None:
    answer = api.get("/api/v1/traits/rudeness")
    assert answer.status_code == 404
    assert "sarcasm" in answer.json()["error"]
    assert api.get("/nowhere").status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_stops_its_generation(stack: Stack, stream: bool) -> None:
    leave(stack, "/api/v1/generate", {**LONG, "stream": stream}, running=1)


def test_many_different_requests_at_once_each_get_their_own_answer(api: httpx.Client) -> None:
    traits = list(api.get("/api/v1/traits").json()["traits"])
    bodies = [
        {**STEERED, "trait": trait, "scalar": scalar}
        for trait in traits
        for scalar in (-2.0, -1.0, 0.0, 1.0, 2.0)
    ]

    def ask(body: dict[str, Any]) -> str:
        return str(api.post("/api/v1/generate", json=body).json()["response"])

    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, bodies))
    assert together == [ask(body) for body in bodies]


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, to break."""
    with Stack(loopback_settings(tmp_path, START_SECONDS), ONE_THREAD, say=lambda _: None) as stack:
        yield stack


def shared_memory(stack: Stack) -> list[Path]:
    record = RunRecord.read(stack.settings.run_folder / "stack.json")
    assert record
    return list(SHARED_MEMORY.glob(f"{record.shared_memory_prefix}*"))


def test_it_recovers_by_itself_when_the_model_or_triton_dies(own_stack: Stack) -> None:
    assert own_stack.triton
    with httpx.Client(base_url=own_stack.settings.gateway_url, timeout=60) as api:

        def answers() -> bool:
            return api.post("/api/v1/generate", json=STEERED).status_code == 200

        expected = api.post("/api/v1/generate", json=STEERED).json()
        with ThreadPoolExecutor(1) as pool:
            (stub,) = stubs_of(own_stack.triton, "steered_qwen")
            with held_engine(own_stack.triton) as engine:
                open_request = pool.submit(api.post, "/api/v1/generate", json=LONG)
                engine.steps(BEGINNING)
                os.kill(stub, signal.SIGKILL)
            with supervised(own_stack):
                broken = open_request.result()
                assert broken.status_code == 503
                assert int(broken.headers["retry-after"]) > 0
                assert "Traceback" not in broken.text
                assert eventually(answers)
                # The dead process's shared memory is not left behind: there are three models.
                assert eventually(lambda: len(shared_memory(own_stack)) == 3)
        assert api.post("/api/v1/generate", json=STEERED).json()["response"] == expected["response"]

        own_stack.triton.stop(patience_seconds=0)
        refused = api.post("/api/v1/generate", json=STEERED)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["success"] is False
        assert api.get("/health").status_code == 200
        assert eventually(lambda: api.get("/health/ready").status_code == 503)
        assert api.get("/status").json()["status"] == "initializing"
        assert api.get("/api/v1/traits").status_code == 503

        with supervised(own_stack):
            assert eventually(answers)
            assert eventually(lambda: api.get("/status").json()["status"] == "ready")
        assert own_stack.status.snapshot().restarts >= 1
